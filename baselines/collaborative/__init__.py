"""Methods that know partners by who rated them together."""
