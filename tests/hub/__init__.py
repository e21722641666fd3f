"""A Hugging Face Hub for tests, and the handle by which tests start and direct it."""

from .blobs import generated_bytes, git_blob_oid
from .client import Gate, Generated, Hub, LocalFile, Sparse

__all__ = ["Gate", "Generated", "Hub", "LocalFile", "Sparse", "generated_bytes", "git_blob_oid"]
