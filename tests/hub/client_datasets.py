"""Run by test_hub_alone.py: loads a dataset with `datasets` and a configuration with `transformers`, if present."""

import importlib.util
import json
import os
import sys

out = {}
if importlib.util.find_spec("datasets"):
    import datasets
    data = datasets.load_dataset("acme/data", split="train", cache_dir=os.path.join(sys.argv[1], "datasets"))
    stream = datasets.load_dataset("acme/data", split="train", streaming=True)
    out["datasets"] = [data.num_rows, data.column_names, len(list(stream))]
if importlib.util.find_spec("transformers"):
    from transformers import AutoConfig
    out["transformers"] = AutoConfig.from_pretrained("acme/tiny").model_type
print(json.dumps(out))
