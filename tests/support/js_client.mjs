// What users of huggingface.js do: prints one JSON line with what they see.
// node js_client.mjs HUB_URL REPO [TOKEN]
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.cwd() + "/");
const hub = await import(pathToFileURL(require.resolve("@huggingface/hub")));
const [hubUrl, repo, accessToken] = process.argv.slice(2);
const common = { hubUrl, repo, ...(accessToken ? { accessToken } : {}) };
const sha256 = async (blob) => createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("hex");

const files = [];
for await (const file of hub.listFiles({ ...common, recursive: true })) {
	if (file.type === "file") files.push([file.path, file.size, file.xetHash ?? null]);
}
const contents = {};
for (const path of ["config.json", "small.safetensors", "model.safetensors"]) {
	const blob = await hub.downloadFile({ ...common, path });
	contents[path] = blob ? [blob.size, await sha256(blob)] : null;
}
const info = await hub.fileDownloadInfo({ ...common, path: "model.safetensors" });
const models = [];
for await (const model of hub.listModels({ hubUrl, search: { owner: "listed" } })) models.push(model.name);
console.log(
	JSON.stringify({
		files: files.sort(),
		contents,
		info: { size: info.size, etag: info.etag, xet: info.xet ?? null },
		missing: await hub.fileDownloadInfo({ ...common, path: "nope" }),
		exists: [await hub.fileExists({ ...common, path: "config.json" }), await hub.fileExists({ ...common, path: "nope" })],
		sha: (await hub.modelInfo({ hubUrl, name: repo, additionalFields: ["sha"] })).sha,
		repos: [await hub.repoExists({ hubUrl, repo }), await hub.repoExists({ hubUrl, repo: "acme/nope" })],
		models: models.sort(),
		paths: (await hub.pathsInfo({ ...common, paths: ["config.json", "nope"] })).map((p) => p.path),
	}),
);
