"""The state of the Hub as data that two Hubs can be compared by: no times, no shas, no ids made by the Hub."""

from . import routes_buckets, state_repos, state_social

# Functions that take the store and return {section: data}.
STATE_SECTIONS = [*state_repos.SECTIONS, *state_social.SECTIONS, routes_buckets.state]


def snapshot(store):
    """Return all sections as one dictionary."""
    with store.lock:
        return {name: data for section in STATE_SECTIONS for name, data in section(store).items()}
