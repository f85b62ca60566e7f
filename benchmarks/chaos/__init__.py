"""Injected faults between all processes of a service; every delivered row is compared.

    make chaos                                        the long run, about three quarters of an hour
    make chaos VARIATION=encrypted                    one service alone
    make chaos SHORT=1                                the form in the tests
    python -m benchmarks.chaos --seed 5 --minutes 3 --faults 300 --rows 0 --no-disk --out x.json

It runs the service that `labelcast_server` is imported from, as people run it (`labelcast-server
serve`, two I/O workers), with a Redis of its own and a byte proxy between every pair of processes,
and reads through the public client alone: once in plain text, once with mutual TLS, a certificate
that is renewed all the time, and two decoders, and once sequences of tokens. To try another working
copy, put its `client`, `server`, `producers` and `glyphs` folders into PYTHONPATH and this one
last.

    label_sets   rows that spell their own name          judge      compares each row
    sequences    the same of sequences of tokens         catalog    the sets that are read
    proxy        bytes: cut, stall, flip …               http2, grpc_proxy   GOAWAY, RST_STREAM
    service      processes                               decoder_seam, cluster   what runs, links
    variation    what kind of service                    encryption, doors   certificates, way in
    jobs         what students ask for                   students   one process of them
    faults       what goes wrong, drawn from a seed      publishing, disk   pushes, a full disk
    tally        counts                                  conductor  one run

Exit status 1 if a row was wrong, lost or duplicated, a stream had neither end nor a typed error
within its patience, or the service was not right again at the end.
"""
