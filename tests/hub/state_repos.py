"""The state of repositories: settings, files of all refs, histories, and the names that lead to other names."""


def repositories(store):
    """Return {"repositories": …} with every repository with its settings, and for each ref its files and history."""
    out = {}
    for (type, id), repo in sorted(store.repos.items()):
        refs = {}
        for name, sha in sorted(repo.refs.items()):
            commit = repo.commits[sha]
            refs[name] = {
                "files": {path: [e.oid, e.lfs, e.blob.size] for path, e in sorted(commit.files.items())},
                "history": [[c.title, c.message, c.author] for c in repo.history(commit)]}
        out[f"{type}/{id}"] = {
            "private": repo.private, "gated": repo.gated, "disabled": repo.disabled, "likes": repo.likes,
            "likers": sorted(repo.likers), "grants": sorted(repo.grants), "refs": refs, "stored": sorted(repo.stored),
            **{name: repo.extra[name] for name in ("sdk", "info", "tag_messages", "space_options")
               if repo.extra.get(name)}}
    return {"repositories": out}


def old_names(store):
    """Return {"old_names": …}, which name leads to which."""
    return {"old_names": {f"{type}/{old}": new for (type, old), new in sorted(store.aliases.items())}}


SECTIONS = (repositories, old_names)
