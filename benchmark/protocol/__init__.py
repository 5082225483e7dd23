"""Who is cold, what they show, what is asked of them."""
