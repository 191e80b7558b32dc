"""Recordings: what units did, over samples and positions, in memory or on disk."""


from microtome.subject.recording.buffer import MemoryWriter
from microtome.subject.recording.plan import Plan
from microtome.subject.recording.recording import Recording
from microtome.subject.recording.writer import ShardWriter, open_committed

__all__ = ["MemoryWriter", "Plan", "Recording", "ShardWriter", "open_committed"]
