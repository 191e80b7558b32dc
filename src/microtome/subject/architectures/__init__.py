"""One declarative table per architecture; see `microtome.subject.architecture`."""
