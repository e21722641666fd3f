// Run by test_hub_writes.py: writes with @huggingface/hub and prints the results as JSON.
// Arguments: the folder whose node_modules holds the package, the Hub's URL.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [where, hubUrl] = process.argv.slice(2);
const entry = createRequire(join(where, "x.js")).resolve("@huggingface/hub");
const hub = await import(pathToFileURL(entry));
const common = { hubUrl, accessToken: "hf_ann", repo: "ann/js", useXet: false };
const out = {};

async function status(promise) {
	try {
		await promise;
		return 200;
	} catch (e) {
		return e.statusCode;
	}
}

async function names(params = {}) {
	const found = [];
	for await (const file of hub.listFiles({ ...common, recursive: true, ...params })) {
		if (file.type === "file") {
			found.push(file.path);
		}
	}
	return found.sort();
}

const created = await hub.createRepo({ ...common, license: "mit" });
out.repo = created.repoUrl;
out.taken = await status(hub.createRepo(common));
const big = new Uint8Array(256 * 43008).map((_, n) => n % 256);
const first = await hub.uploadFiles({
	...common,
	commitTitle: "Files",
	files: [
		{ path: "small.txt", content: new Blob(["small"]) },
		{ path: "weights.bin", content: new Blob(["weights"]) },
		{ path: "big.dat", content: new Blob([big]) },
	],
});
out.files = await names();
const pull = await hub.uploadFile({
	...common,
	file: { path: "pr.txt", content: new Blob(["pr"]) },
	isPullRequest: true,
});
out.pr = pull.pullRequestUrl;
await hub.deleteFile({ ...common, path: "small.txt" });
out.after = await names();
out.conflict = await status(
	hub.commit({
		...common,
		title: "Late",
		parentCommit: first.commit.oid,
		operations: [{ operation: "addOrUpdate", path: "late.txt", content: new Blob(["late"]) }],
	}),
);
const blob = await hub.downloadFile({ ...common, path: "big.dat", xet: false });
out.big = createHash("sha256").update(new Uint8Array(await blob.arrayBuffer())).digest("hex");
await hub.createBranch({ ...common, branch: "side" });
out.branches = [await status(hub.deleteBranch({ ...common, branch: "side" })),
	await status(hub.deleteBranch({ ...common, branch: "side" }))];
await hub.deleteRepo(common);
out.gone = await hub.repoExists(common);
console.log(JSON.stringify(out));
