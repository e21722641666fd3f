// Run by test_hub_alone.py: does with @huggingface/hub what users do and prints the results as JSON.
// Arguments: the folder whose node_modules holds the package, the Hub's URL, a folder for a cache.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [where, hubUrl, cacheDir] = process.argv.slice(2);
const entry = createRequire(join(where, "x.js")).resolve("@huggingface/hub");
const hub = await import(pathToFileURL(entry));
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const repo = "acme/tiny";
const out = {};

async function collect(iterable) {
	const rows = [];
	for await (const row of iterable) rows.push(row);
	return rows;
}
async function bytes(blob) {
	return Buffer.from(await blob.arrayBuffer());
}

out.files = (await collect(hub.listFiles({ repo, hubUrl, recursive: true }))).map((f) => f.path);
out.many = (await collect(hub.listFiles({ repo: "acme/many", hubUrl, recursive: true }))).length;
out.pr = (await collect(hub.listFiles({ repo, hubUrl, revision: "refs/pr/1" }))).map((f) => f.path);
const info = await hub.fileDownloadInfo({ repo, hubUrl, path: "model.safetensors" });
out.info = { size: info.size, etag: info.etag, xet: info.xet ? info.xet.hash : null };
out.missing = await hub.fileDownloadInfo({ repo, hubUrl, path: "nope.bin" });
out.config = sha256(await bytes(await hub.downloadFile({ repo, hubUrl, path: "config.json" })));
out.weights = sha256(await bytes(await hub.downloadFile({ repo, hubUrl, path: "model.safetensors", xet: false })));
out.raw = (await bytes(await hub.downloadFile({ repo, hubUrl, path: "model.safetensors", raw: true }))).toString();
const cached = await hub.downloadFileToCacheDir({ repo, hubUrl, path: "config.json", cacheDir });
out.cached = sha256(readFileSync(cached));
out.paths = (await hub.pathsInfo({ repo, hubUrl, paths: ["config.json", "nope"], expand: true })).map((p) => [
	p.path,
	p.lastCommit?.id ?? null,
]);
out.models = (await collect(hub.listModels({ hubUrl, search: { owner: "listed" } }))).map((m) => m.name);
out.exists = [await hub.repoExists({ repo, hubUrl }), await hub.repoExists({ repo: "acme/nope", hubUrl })];
out.commits = (await collect(hub.listCommits({ repo, hubUrl }))).map((c) => c.title);
out.model = (await hub.modelInfo({ name: repo, hubUrl })).likes;
out.whoami = (await hub.whoAmI({ accessToken: "hf_ann", hubUrl })).name;
out.gated = await hub.downloadFile({ repo: "acme/gated", hubUrl, path: "config.json" }).then(
	() => "ok",
	(e) => e.statusCode,
);
console.log(JSON.stringify(out));
