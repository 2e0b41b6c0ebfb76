"""Savers that died."""


def given_up(state):
    """Let those whose blobs are pending have been silent for longer than any that is at work."""
    state.blobs.update_many({"state": "pending"}, [{"$set": {"touched": {"$subtract": ["$touched", 61_000]}}}])
