"""Students of a real ImageNet-1K teacher, on photographs."""
