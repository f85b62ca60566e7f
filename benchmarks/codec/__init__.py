"""What a few bytes a label are worth: students trained on every codec's labels, beside ours.

python -m benchmarks.codec                      all that is missing, then codec.json and plot
python -m benchmarks.codec --point pq-8,vqae-8  some of it
python -m benchmarks.codec --list               what is done
"""
