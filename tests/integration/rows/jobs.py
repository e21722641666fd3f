"""Section 4.16: jobs and scheduled jobs."""

from . import Section

SECTION = Section()


@SECTION.world
def world(hub):
    """A Space whose image can be run."""
    hub.create_repo("spaces", "acme/app", sdk="docker")


def shown(job):
    """Return a look at a job."""
    return lambda a: a.inspect_job(job_id=job, namespace="ann")


def plan(c, **more):
    """Plan a job."""
    return c.api.create_scheduled_job(image="busybox", command=["echo", "hi"], schedule="@hourly", **more).id


def planned(job):
    """Return a look at a scheduled job."""
    return lambda a: a.inspect_scheduled_job(scheduled_job_id=job, namespace="ann")


def names(call):
    """Return a look at the ids of all jobs."""
    return lambda a: sorted(j.id for j in getattr(a, call)(namespace="ann"))


@SECTION.row("run_job", "inspect_job")
def run_job(c):
    """A job runs, with an image, a Space, secrets, in an organization, and it says what became of it."""
    ran = c.seen(names("list_jobs"), lambda: c.api.run_job(
        image="python:3.12", command=["python", "-c", "print(1)"], env={"A": "1"}, secrets={"S": "CANARYjob"},
        timeout="5m", flavor="cpu-basic"))
    return [
        ran, c.look(shown(ran["done"]["id"])),
        c.api.run_job(image="hf.co/spaces/acme/app", command=["sleep", "9"], namespace="acme"),
        c.fails(c.api.run_job, image="x", command=["y"], flavor="abacus"),
        c.fails(c.reader.run_job, image="x", command=["y"], namespace="ann"),
        c.fails(c.bob.run_job, image="x", command=["y"], namespace="ann"), c.fails(shown("0" * 24), c.api),
    ]


@SECTION.row()
def run_uv_job(c):
    """A script runs, from an address and from a file."""
    scripts = "ann/hf-cli-jobs-uv-run-scripts"
    out = [c.api.run_uv_job("https://example.org/script.py", script_args=["--x"], dependencies=["numpy"]),
           c.api.run_uv_job(c.file("script.py", "print(1)")).command[:2]]
    if not c.major:
        out.append(c.files(c.api, scripts, repo_type="dataset"))
        c.api.delete_file("README.md", scripts, repo_type="dataset")  # it names the endpoint
    return out


@SECTION.row()
def fetch_job_logs(c):
    """What a job has printed."""
    job = c.api.run_job(image="busybox", command=["echo", "hello"]).id
    c.api.inspect_job(job_id=job)
    return [list(c.api.fetch_job_logs(job_id=job)), c.try_to(lambda: list(c.bob.fetch_job_logs(
        job_id=job, namespace="ann")))]


@SECTION.row("fetch_job_logs")
def followed_job_logs(c):
    """Lines arrive while the job prints them, and the stream ends with the job."""
    job = c.api.run_job(image="busybox", command=["sleep", "9"]).id
    lines = iter(c.api.fetch_job_logs(job_id=job, **({"follow": True} if c.major else {})))
    seen = [next(lines)]
    for word in ("one", "two \u00e4"):
        c.control("job_log", id=job, lines=[word])
        seen.append(next(lines))
    c.control("job_log", id=job, lines=["last"], end="COMPLETED")
    return [seen, list(lines), c.api.inspect_job(job_id=job).status.stage]


@SECTION.row()
def list_jobs(c):
    """The jobs of somebody, for those who may see them."""
    c.api.run_job(image="busybox", command=["true"])
    return [c.look(lambda a: list(a.list_jobs(namespace="ann"))), len(list(c.api.list_jobs())),
            len(list(c.api.list_jobs(namespace="acme")))]


@SECTION.row()
def cancel_job(c):
    """A job that would go on is stopped."""
    job = c.api.run_job(image="busybox", command=["sleep", "9"]).id
    return [c.seen(shown(job), lambda: c.api.cancel_job(job_id=job)),
            c.fails(c.bob.cancel_job, job_id=job, namespace="ann")]


@SECTION.row("update_job_labels", "wait_for_job", "fetch_job_metrics", "list_jobs_hardware", since=1)
def newer_jobs(c):
    """Labels, waiting, measurements and machines."""
    job = c.api.run_job(image="busybox", command=["sleep", "9"], labels={"team": "red"}, name="nap").id
    out = [c.seen(shown(job), lambda: c.api.update_job_labels(job_id=job, labels={"team": "blue"})),
           len(list(c.api.list_jobs(labels={"team": "blue"}))), len(list(c.api.list_jobs(status="RUNNING")))]
    c.api.cancel_job(job_id=job)
    return out + [c.api.wait_for_job(job), list(c.api.fetch_job_metrics(job_id=job)), c.api.list_jobs_hardware(),
                  list(c.api.fetch_job_logs(job_id=job, tail=1))]


@SECTION.row("rerun_job", "update_job_expose", since=2)
def newest_jobs(c):
    """A job again, and its open ports."""
    job = c.api.run_job(image="busybox", command=["sleep", "9"]).id
    return [c.seen(names("list_jobs"), lambda: c.api.rerun_job(job_id=job)),
            c.seen(shown(job), lambda: c.api.update_job_expose(job_id=job, expose=[8000]))]


@SECTION.row("create_scheduled_job", "inspect_scheduled_job", "list_scheduled_jobs")
def create_scheduled_job(c):
    """A job that runs again and again is planned."""
    out = c.seen(names("list_scheduled_jobs"), lambda: c.api.create_scheduled_job(
        image="busybox", command=["echo", "hi"], schedule="@hourly", concurrency=True, suspend=True, env={"A": "1"}))
    return [out, c.look(planned(out["done"]["id"])), c.look(lambda a: list(a.list_scheduled_jobs(namespace="ann"))),
            c.fails(c.api.create_scheduled_job, image="x", command=["y"], schedule="sometimes")]


@SECTION.row()
def create_scheduled_uv_job(c):
    """A script that runs again and again."""
    return c.api.create_scheduled_uv_job("https://example.org/s.py", schedule="0 9 * * 1")


@SECTION.row("suspend_scheduled_job", "resume_scheduled_job")
def suspend_scheduled_job(c):
    """Off and on."""
    job = plan(c)
    return [c.seen(planned(job), lambda: c.api.suspend_scheduled_job(scheduled_job_id=job)),
            c.seen(planned(job), lambda: c.api.resume_scheduled_job(scheduled_job_id=job))]


@SECTION.row()
def delete_scheduled_job(c):
    """A plan is gone."""
    job = plan(c)
    return [c.seen(planned(job), lambda: c.api.delete_scheduled_job(scheduled_job_id=job)),
            c.fails(c.api.delete_scheduled_job, scheduled_job_id=job)]


@SECTION.row("trigger_scheduled_job", "update_scheduled_job_labels", since=1)
def newer_scheduled_jobs(c):
    """A plan that is carried out now, and its labels."""
    job = plan(c)
    return [c.seen(planned(job), lambda: c.api.trigger_scheduled_job(scheduled_job_id=job)),
            c.seen(planned(job), lambda: c.api.update_scheduled_job_labels(scheduled_job_id=job, labels={"a": "b"}))]


@SECTION.row(since=2)
def update_scheduled_job_schedule(c):
    """Another time."""
    job = plan(c)
    return c.seen(planned(job), lambda: c.api.update_scheduled_job_schedule(scheduled_job_id=job, schedule="@daily"))


@SECTION.row(since=1)
def sync_job_volume(c):
    """A local folder that a job will see."""
    c.file("folder/data.txt", "data")
    return c.api.sync_job_volume(f"{c.folder}/folder", "/data", remote_name="synced")
