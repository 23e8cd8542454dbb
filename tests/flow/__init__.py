"""What docs/flow.md says, sentence by sentence. A package, so that its machines run no longer than its tests."""
