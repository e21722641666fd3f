/*
 * What is under way: files that come in, and requests that wait.
 *
 *   GET transfers
 *
 *   {"transfers": [{"repository": "acme/m", "path": "w.safetensors", "digest": "...",
 *                   "size": 5000000000, "bytes": 1200000000, "rate": 98000000, "readers": 12,
 *                   "fetches": 3, "state": "running", "waits_for_upstream": false, "age": 14}],
 *    "requests": [{"op": "resolve", "repository": "acme/m", "peer": "10.0.0.7", "age_ms": 120}],
 *    "more": 0, "connections": 40, "under_way": 13}
 *
 * Both lists end at LISTED_MAX rows; `more` is what they leave out.  `rate` is what came in the
 * last second.  A request waits while nothing of its answer can be sent yet.
 */
#pragma once

struct api_table;

extern const struct api_table transfers_api;
