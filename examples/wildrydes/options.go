package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/demo"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
)

// Defaults of the flags.
const (
	defaultRides   = 400
	defaultCrashes = 3
	maxRides       = 1_000_000
	maxCrashes     = 10_000
)

// options are what the command line asks for.
type options struct {
	modes           []worker.Mode
	rides           []rides.Ride
	crashes         int
	seed            uint64
	endpoint, redis string
	config          string
	output          string
	verbose, yes    bool
	workerEnv       []string // for tests
}

// parse reads the command line, and the rides. Help goes to stdout.
func parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	fs := pflag.NewFlagSet("wildrydes", pflag.ContinueOnError)
	fs.Usage = func() {} // parse says it itself
	mode := fs.String("mode", "saga", "")
	count := fs.Int("rides", defaultRides, "")
	seed := fs.Uint64("seed", 1, "")
	input := fs.String("input", "", "")
	fail := fs.String("fail", "default", "")
	fs.IntVar(&o.crashes, "crash", defaultCrashes, "")
	fs.StringVar(&o.endpoint, "endpoint", "", "")
	fs.StringVar(&o.redis, "redis", "", "")
	fs.StringVar(&o.config, "config", "", "")
	fs.StringVarP(&o.output, "output", "o", "text", "")
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "")
	fs.BoolVar(&o.yes, "yes", false, "")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			fmt.Fprint(stdout, help())
		}
		return nil, err
	}
	o.seed = *seed

	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(fs.NArg() > 0, "%q is not a flag; it takes flags alone", fs.Arg(0))
	o.modes = modes[*mode]
	check(o.modes == nil, "--mode is %q; want saga, pipeline or both", *mode)
	check(*count < 1 || *count > maxRides, "--rides is %d; want 1 to %d", *count, maxRides)
	check(o.crashes < 0 || o.crashes > maxCrashes, "--crash is %d; want 0 to %d", o.crashes, maxCrashes)
	check(o.output != "text" && o.output != "json", "--output is %q; want text or json", o.output)
	check(o.endpoint != "" && o.endpoint != demo.AWS && !isURL(o.endpoint),
		"--endpoint is %q; want the URL of LocalStack, such as http://127.0.0.1:4566, or aws", o.endpoint)
	check(fs.Changed("input") && fs.Changed("fail"), "--fail is for rides that are generated; the failures of --input are in the file")
	mix, err := rides.ParseMix(*fail)
	check(err != nil, "--fail: %v", err)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if !fs.Changed("input") {
		o.rides = rides.Generate(*count, *seed, mix)
		return o, nil
	}
	if o.rides, err = readRides(*input); err != nil {
		return nil, err
	}
	if fs.Changed("rides") {
		if *count > len(o.rides) {
			return nil, fmt.Errorf("--rides is %d; --input %s has %s", *count, *input, report.Count(len(o.rides), "ride"))
		}
		o.rides = o.rides[:*count]
	}
	return o, nil
}

var modes = map[string][]worker.Mode{
	"saga":     {worker.Saga},
	"pipeline": {worker.Pipeline},
	"both":     {worker.Saga, worker.Pipeline},
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func readRides(path string) ([]rides.Ride, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--input: %w", err)
	}
	defer f.Close()
	list, err := rides.Read(f)
	if err != nil {
		return nil, fmt.Errorf("--input %s: %w", path, err)
	}
	return list, nil
}

// A configFile is the file with the endpoints.
type configFile struct {
	path string
	temp bool
}

// configuration returns the file that was asked for, or one with the endpoints
// that the program carries.
func (o *options) configuration() (configFile, error) {
	if o.config != "" {
		return configFile{path: o.config}, nil
	}
	f, err := os.CreateTemp("", "wildrydes-*.yaml")
	if err != nil {
		return configFile{}, err
	}
	_, err = f.Write(topology)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return configFile{path: f.Name(), temp: true}, err
}

func (f configFile) remove() error {
	if !f.temp {
		return nil
	}
	return os.Remove(f.path)
}

func help() string {
	return fmt.Sprintf(`wildrydes processes the fares of rides: each is registered, charged, credited to
the customer's account and announced. What fails is undone in reverse. The
worker's process is killed on the way. The report on stdout reconciles the
ledgers to the cent; progress is on stderr.

It needs nothing: queues and Redis are embedded unless --endpoint and --redis
say where they are.

  --mode saga|pipeline|both  chain the handlers as a saga (the default), as a
                             pipeline of queues, or run one after the other
  --rides N                  how many rides come in (default %d); with --input,
                             how many of the file's
  --seed N                   makes other rides, and kills at other moments (default 1)
  --input FILE               take the rides from a file, one JSON object a line;
                             examples/wildrydes/rides.jsonl is one
  --fail MIX                 what goes wrong: default, none, or percentages such as
                             fail_auth=5,truncated=0.5 (see below)
  --crash N                  kill the worker's process N times on the way (default %d)
  --endpoint URL             use the SQS and SNS at this URL, as of LocalStack, or aws
                             (see below)
  --yes                      with --endpoint aws, delete what is in the queues
  --redis ADDR               use the Redis at host:port or redis://user:password@host:port/db
  --config FILE              take the queues from this file in place of
                             examples/wildrydes/waybill.yaml
  -o, --output text|json     what the report is (default text)
  -v, --verbose              show the worker's warnings

In JSON, before_redrive and after_redrive count all rides as they stood before
the repair and at the end, and books_before_redrive and books are the ledgers
then. completed, compensated, dead_lettered, open and lost add up to rides: a ride
that needed the dead-letter queue is dead_lettered, however it ended. With --mode
both, modes holds the report of each.

With --endpoint it makes queues and a topic whose names begin with wildrydes-,
and EMPTIES them before it begins: they are the demo's own. It does not run if one
of them exists without the tag waybill:managed, where the server has tags. With
--endpoint aws it empties them only with --yes, and without it does not run if
they hold messages. It deletes no queue. WAYBILL_ variables do not count.

Failures, each with its percentage in the default mix:

%s
Exit status: 0 all is well; 1 a cent is missing, a saga is open, a message is
lost, or the demo could not run; 2 wrong usage; 130 interrupted.
`, defaultRides, defaultCrashes, indent(rides.Describe()))
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}
