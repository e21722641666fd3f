//! Fetches files through hf-hub as Rust programs do: `rust-client KIND REPO REVISION FILE...`.
//!
//! The endpoint and the cache come from HF_ENDPOINT and HF_HOME.  Prints one local path a line.

use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Repo, RepoType};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, repo, revision, files @ ..] = words.as_slice() else {
        return Err("usage: rust-client KIND REPO REVISION FILE...".into());
    };
    let kind = match kind.as_str() {
        "models" => RepoType::Model,
        "datasets" => RepoType::Dataset,
        "spaces" => RepoType::Space,
        other => return Err(format!("unknown kind {other}").into()),
    };
    let api = ApiBuilder::from_env().with_progress(false).build()?;
    let repo = api.repo(Repo::with_revision(repo.clone(), kind, revision.clone()));
    for file in files {
        println!("{}", repo.get(file)?.display());
    }
    println!("sha {}", repo.info()?.sha);
    Ok(())
}
