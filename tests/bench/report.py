"""Figures to tables: medians, ratios within a round, goals, and the comparison of two runs."""

import statistics

HUBCACHED = "hubcached"

# case -> what the value is, its unit, CPU's unit, the baseline of the ratios
CASES = {
    "hot GET metadata": ("requests", "/s", "us each", "nginx cache"),
    "hot HEAD resolve": ("requests", "/s", "us each", "nginx cache"),
    "hot 16 KiB range": ("requests", "/s", "us each", "nginx static"),
    "hot large GET, 1 stream": ("speed", "GiB/s", "s/GiB", "nginx static"),
    "hot large GET, 8 streams": ("speed", "GiB/s", "s/GiB", "nginx static"),
    "1000 slow clients": ("RssAnon", "MiB", "", "nginx static"),
    "cold first byte": ("time", "ms", "", "direct"),
    "cold large GET": ("time", "s/GiB", "s/GiB", "nginx cache"),
    "64 clients, one cold file": ("spread", "ms", "s", "nginx cache"),
    "forwarded GET": ("median", "ms", "us each", "direct"),
    "forwarded POST": ("median", "ms", "us each", "direct"),
    "forwarded write": ("median", "ms", "us each", "direct"),
    "large upload": ("time", "s/GiB", "s/GiB", "direct"),
    "large upload at 1 Gbit/s": ("time", "s/GiB", "s/GiB", "direct"),
    "GET metadata beside 4 prefetches": ("median", "us", "", "alone"),
    "GET metadata beside 4 prefetches, p99": ("p99", "us", "", "alone"),
    "16 KiB range beside 4 prefetches": ("median", "us", "", "alone"),
    "16 KiB range beside 4 prefetches, p99": ("p99", "us", "", "alone"),
}


def rounds(results, case, server):
    return {r["round"]: r for r in results.get(case, {}).get(server, []) if "failed" not in r}


def median(results, case, server, what="value"):
    values = [r[what] for r in rounds(results, case, server).values() if what in r]
    return statistics.median(values) if values else None


def ratios(results, case, server, base, what="value"):
    """server / base, round by round: both met the same weather."""
    a, b = rounds(results, case, server), rounds(results, case, base)
    return [a[i][what] / b[i][what] for i in a if i in b and what in a[i] and b[i].get(what)]


def ratio(results, case, base, what="value"):
    values = ratios(results, case, HUBCACHED, base, what)
    return statistics.median(values) if values else None


def later(results, case, base):
    """How many milliseconds hubcached is behind the base, within a round."""
    ours, theirs = rounds(results, case, HUBCACHED), rounds(results, case, base)
    values = [ours[i]["value"] - theirs[i]["value"] for i in ours if i in theirs]
    return statistics.median(values) if values else None


def number(x):
    if x is None:
        return "-"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.1f}" if abs(x) >= 100 else f"{x:.2f}" if abs(x) >= 1 else f"{x:.3f}"


def table(results):
    lines = []
    for case, servers in results.items():
        word, unit, cpu_unit, base = CASES[case]
        head = f"{word} {unit}".strip()
        lines += ["", f"{case} (ratios to {base})",
                  f"  {'':14} {head:>16} {'ratio':>7} {'of the rounds':>17} {'CPU ' + cpu_unit if cpu_unit else '':>12}"
                  f" {'ratio':>7}  n"]
        for server, kept in servers.items():
            good = rounds(results, case, server)
            if not good:
                lines.append(f"  {server:14} failed: {kept[-1]['failed'][:90]}")
                continue
            r = ratios(results, case, server, base)
            c = ratios(results, case, server, base, "cpu")
            span = f"{min(r):.2f} to {max(r):.2f}" if r else ""
            lines.append(
                f"  {server:14} {number(median(results, case, server)):>16} "
                f"{f'{statistics.median(r):.2f}x' if r else '-':>7} {span:>17} "
                f"{number(median(results, case, server, 'cpu')) if cpu_unit else '':>12} "
                f"{f'{statistics.median(c):.2f}x' if c else '':>7}  {len(good)}"
                + extras(good) + (f", {len(kept) - len(good)} failed" if len(kept) > len(good) else ""))
    return lines


def extras(good):
    """What else a round noted, in its median."""
    shown = {"p50_us": "p50 {} us", "p99_us": "p99 {} us", "upstream": "upstream {}x", "first_ms": "leader {} ms",
             "seconds": "all after {} s", "kernel_mib": "kernel {} MiB", "base_mib": "before {} MiB",
             "put_s": "PUT {} s/GiB", "ahead_mib": "prefetches {} MiB/s", "batch_ms": "batch {} ms", "commit_ms": "commit {} ms",
             "rss_mib": "RssAnon {} MiB"}
    found = []
    for key, text in shown.items():
        values = [r[key] for r in good.values() if key in r]
        if values:
            found.append(text.format(number(statistics.median(values))))
    return "  " + ", ".join(found) if found else ""


def goals(results):
    """(goal, what was measured, reached); None where nothing was measured."""
    def at_least(case, base, least):
        r = ratio(results, case, base)
        return (f"{case}: at least {least}x {base}", r and f"{r:.2f}x", r is not None and r >= least)

    def at_most(case, base, most):
        r = ratio(results, case, base)
        return (f"{case}: at most {most}x the time of {base}", r and f"{r:.2f}x", r is not None and r <= most)

    found = [
        at_least("hot GET metadata", "nginx cache", 1.2),
        at_least("hot HEAD resolve", "nginx cache", 1.2),
        at_least("hot large GET, 1 stream", "nginx static", 1.0),
        at_least("hot large GET, 8 streams", "nginx static", 1.0),
        at_most("cold large GET", "nginx cache", 1.0),
    ]
    digest = ratios(results, "cold large GET", "SHA-256 alone", "nginx cache")
    if digest and statistics.median(digest) > 1:
        found[-1] += (f"; SHA-256 alone takes {statistics.median(digest):.2f}x on this processor",)
    late = later(results, "cold first byte", "direct")
    found.append(("cold first byte: at most 2 ms after direct", late is not None and f"{late:.2f} ms",
                  late is not None and late <= 2))
    herd = rounds(results, "64 clients, one cold file", HUBCACHED).values()
    most = max((r["upstream"] for r in herd), default=None)
    found.append(("64 clients, one cold file: upstream sends it once", most and f"{most:.4f}x",
                  bool(herd) and all(r["upstream"] == 1 for r in herd)))
    spread = statistics.median([r["value"] for r in herd]) if herd else None
    found.append(("64 clients, one cold file: all first bytes within 10 ms", spread is not None and f"{spread:.2f} ms",
                  spread is not None and spread <= 10))
    slow = median(results, "1000 slow clients", HUBCACHED)
    found.append(("1000 slow clients: at most 25 MiB of RssAnon", slow is not None and f"{slow:.1f} MiB",
                  slow is not None and slow <= 25))
    for case in ("forwarded GET", "forwarded POST", "forwarded write"):
        late = later(results, case, "direct")
        found.append((f"{case}: at most 1 ms after direct", late is not None and f"{late:.2f} ms",
                      late is not None and late <= 1))
    found.append(at_most("large upload at 1 Gbit/s", "direct", 1.05))
    found.append(at_most("GET metadata beside 4 prefetches", "alone", 1.2))
    found.append(at_most("16 KiB range beside 4 prefetches", "alone", 1.2))
    return found


def goal_lines(results):
    lines = ["", "goals"]
    for goal, measured, reached, *note in goals(results):
        verdict = "not measured" if not measured else "reached" if reached else "SHORT OF THE GOAL"
        lines.append(f"  {goal:62} {measured or '':>10}  {verdict}{''.join(note)}")
    return lines


def compare(old, new):
    """hubcached's ratios and CPU in two runs; differences within the rounds' spread say nothing."""
    lines = ["", f"hubcached compared with {old['when']}",
             f"  {'':28} {'ratio then':>12} {'now':>12} {'CPU then':>12} {'now':>12}"]
    if old["quick"] != new["quick"]:
        lines.append("  (one of the two is a quick run: sizes and rounds differ)")
    for case in new["results"]:
        if case not in old["results"]:
            continue
        base = CASES[case][3]
        cells = [ratio(old["results"], case, base), ratio(new["results"], case, base),
                 median(old["results"], case, HUBCACHED, "cpu"), median(new["results"], case, HUBCACHED, "cpu")]
        lines.append(f"  {case:28} " + " ".join(f"{number(c):>12}" for c in cells))
    return lines
