"""Images, rendered as the teacher saw them."""
