"""What was learned elsewhere (on warm entities, on content, in another domain) is carried over to a cold entity."""
