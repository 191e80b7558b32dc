"""Opens a writer, says so, and waits to be told to leave."""

import sys

import recording_synthetic as synthetic

from microtome.subject.recording import ShardWriter

with ShardWriter(sys.argv[1], synthetic.plan(25, 7)):
    sys.stdout.write("held\n")
    sys.stdout.flush()
    sys.stdin.readline()
