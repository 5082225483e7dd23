"""Partners are what is known of them beside their ratings, so that one never rated can be served."""
