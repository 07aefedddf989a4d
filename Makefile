# What DBAs and developers type. Every target can be repeated; PG_CONFIG chooses the PostgreSQL.
PG_CONFIG ?= pg_config
export PG_CONFIG

.PHONY: all install uninstall installcheck demo test soak bench bench-read clean

all:             ## build the extension
	@tools/build

install:         ## copy it into PostgreSQL's folders (as whoever may write there); DESTDIR for packagers
	@tools/install

uninstall:       ## remove those files again
	@tools/install --remove

installcheck:    ## run the SQL tests against the running server (PGHOST, PGPORT, PGUSER)
	@tools/regress

demo:            ## a private cluster, a sample application and its audit log; KEEP=1 leaves the cluster up
	@tools/demo

test:            ## all tests
	@tools/test

soak:            ## a hundred kills instead of ten
	@tools/soak

bench:           ## what auditing costs; QUICK=1 for a look, docs/benchmarks.md has the last full run
	@tools/bench

bench-read:      ## what reading the log costs, in 5,000,000 events; QUICK=1 for a tenth of them
	@tools/bench read

clean:           ## stop private clusters, remove everything built
	@tools/clean
