"""What the integration tests are made of: the daemon under test, a plain HTTP client, real clients."""
