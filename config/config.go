package config

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	koanfmaps "github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/v2"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
)

// DefaultFile is the file that [Load] reads if it is there and no other is
// named.
const DefaultFile = "waybill.yaml"

// DefaultRedisAddr is where Redis is looked for if nothing says otherwise.
const DefaultRedisAddr = "127.0.0.1:6379"

// DefaultStoreNamespace begins the names of keys in Redis where the
// configuration has no namespace.
const DefaultStoreNamespace = "waybill"

// A Config is the configuration of a program: what flags, environment, file
// and defaults say together. It is immutable once loaded, and printing it
// shows no secret.
type Config struct {
	// Namespace keeps environments that share an account or a Redis apart:
	// dev, prod. It begins the names of queues, topics and keys. Defaults to
	// none, and [DefaultStoreNamespace] in Redis.
	Namespace string

	// AWS says where SQS and SNS are.
	AWS AWS

	// Redis says where Redis is.
	Redis Redis

	// Payloads says where payloads are that are too large for a queue.
	Payloads Payloads

	// Watch says how dead-letter queues are watched.
	Watch Watch

	endpoints map[string]queue.Endpoint
	wiring    pipeline.Wiring
	sources   map[string]Source
	values    map[string]string // as they are shown: secrets masked
	file      Source
}

// AWS says where SQS and SNS are. Credentials come from where the AWS SDK
// finds them, and are no part of the configuration.
type AWS struct {
	// EndpointURL is the base URL of the services, as in
	// http://127.0.0.1:4566. Defaults to those of the region.
	EndpointURL string

	// Region is the region. Defaults to what the AWS SDK finds, and to
	// us-east-1 with an EndpointURL outside AWS.
	Region string
}

// Redis says where Redis is.
type Redis struct {
	// Addr is host:port, or several of them with commas for a Redis Cluster.
	// Defaults to [DefaultRedisAddr].
	Addr string

	// Username and Password are the credentials, if it wants some.
	Username string
	Password Secret

	// DB is the number of the database. A cluster has only 0, the default.
	DB int

	// TLS encrypts the connection, and verifies the server by the system's
	// certificates.
	TLS bool
}

// An Option changes how [Load] finds the configuration.
type Option func(*options)

type options struct {
	file     Source
	explicit bool
	environ  []string
	set      []override
}

type override struct {
	key, value string
	source     Source
}

// WithFile names the file, in place of WAYBILL_CONFIG and waybill.yaml. It
// must exist.
func WithFile(path string) Option { return withFile(Source{Kind: SourceOption, Name: path}) }

// WithFileFlag is [WithFile] for the value of a command-line flag. An empty
// path does nothing.
func WithFileFlag(path string) Option {
	if path == "" {
		return func(*options) {}
	}
	return withFile(Source{Kind: SourceFlag, Name: path})
}

func withFile(s Source) Option { return func(o *options) { o.file, o.explicit = s, true } }

// WithEnviron takes the environment from a list of NAME=value, as os.Environ
// returns it, in place of that of the process.
func WithEnviron(environ []string) Option { return func(o *options) { o.environ = environ } }

// WithValue sets one setting, such as redis.addr or endpoints.fares.url, above
// file and environment. A list is written as YAML or JSON.
func WithValue(key, value string) Option {
	return withValue(key, value, Source{Kind: SourceOption, Name: "WithValue"})
}

// WithFlag is [WithValue] for the value of a command-line flag, such as
// --redis.
func WithFlag(flag, key, value string) Option {
	return withValue(key, value, Source{Kind: SourceFlag, Name: flag})
}

func withValue(key, value string, s Source) Option {
	return func(o *options) { o.set = append(o.set, override{key, value, s}) }
}

// Load reads the configuration: the defaults, over them the file, over it the
// environment, over it the values of options. It reports all that is wrong, as
// joined [*Error] values.
func Load(opts ...Option) (*Config, error) {
	o := options{environ: os.Environ()}
	for _, opt := range opts {
		opt(&o)
	}
	l := &loader{
		k:        koanf.New(delimiter),
		sources:  map[string]Source{},
		declared: map[string]Source{},
		invented: map[string]Source{},

		filterNames: map[string]bool{},
	}
	file := findFile(o)
	if file.Name != "" {
		l.loadFile(file.Name)
	}
	overrides := l.parseOverrides(o.set)
	l.loadEnviron(o.environ)
	l.loadOverrides(overrides)
	return l.config(file)
}

// findFile returns the file to read and what named it, or nothing.
func findFile(o options) Source {
	if o.explicit {
		return o.file
	}
	for _, v := range o.environ {
		if name, value, ok := strings.Cut(v, "="); ok && name == fileVariable && value != "" {
			return Source{Kind: SourceEnv, Name: value}
		}
	}
	if _, err := os.Stat(DefaultFile); err == nil {
		return Source{Kind: SourceDefault, Name: DefaultFile}
	}
	return Source{}
}

// A loader builds the configuration from its layers.
type loader struct {
	k        *koanf.Koanf
	sources  map[string]Source // where each value comes from
	declared map[string]Source // the endpoints that file and options name
	invented map[string]Source // those that only the environment names

	filterNames map[string]bool // the filters that the file names
	problems    problems
}

// merge returns how a layer is put over those below it: an address of Redis
// replaces the whole connection, so that no password goes to a server that it
// is not for.
func (l *loader) merge() koanf.Option {
	return koanf.WithMergeFunc(func(layer, below map[string]any) error {
		if redis, ok := layer["redis"].(map[string]any); ok {
			if _, ok := redis["addr"]; ok {
				l.expandRedis(redis)
				delete(below, "redis")
			}
		}
		moveStore(layer, below)
		koanfmaps.Merge(layer, below)
		return nil
	})
}

// parsed is an override whose setting and value are known.
type parsed struct {
	key    string
	value  any
	source Source
}

func (l *loader) parseOverrides(set []override) []parsed {
	var list []parsed
	for _, o := range set {
		key, f, ok := parseKey(o.key)
		if !ok {
			l.problems.add(o.source, "", "%q is not a setting; %s", o.key, hint(o.key, append(settingKeys(), "endpoints.<name>.url")))
			continue
		}
		if parts := strings.Split(key, delimiter); parts[0] == endpointsSection {
			if _, ok := l.declared[parts[1]]; !ok {
				l.declared[parts[1]] = o.source
			}
		}
		value, err := parseText(f, o.value)
		if err != nil {
			l.refuse(o.source, "("+o.key+")", err)
			continue
		}
		list = append(list, parsed{key, value, o.source})
	}
	return list
}

func (l *loader) loadOverrides(list []parsed) {
	flat := map[string]any{}
	for _, p := range list {
		flat[p.key] = p.value
		l.sources[p.key] = p.source
	}
	if err := l.k.Load(values(flat), nil, l.merge()); err != nil {
		l.problems.errs = append(l.problems.errs, err)
	}
}

// values is a koanf provider of settings by their keys.
type values map[string]any

func (v values) ReadBytes() ([]byte, error)    { return nil, errors.ErrUnsupported }
func (v values) Read() (map[string]any, error) { return koanfmaps.Unflatten(v, delimiter), nil }

// config decodes the merged settings.
func (l *loader) config(file Source) (*Config, error) {
	var raw struct {
		Namespace string
		AWS       AWS
		Redis     Redis
		Payloads  Payloads
		Watch     Watch
		Endpoints map[string]queue.Endpoint
		Filters   pipeline.Wiring
	}
	err := l.k.UnmarshalWithConf("", &raw, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		ErrorUnused: true,
		// dead_letter is DeadLetter.
		MatchName: func(key, name string) bool { return strings.EqualFold(strings.ReplaceAll(key, "_", ""), name) },
	}})
	if err != nil {
		l.problems.errs = append(l.problems.errs, err)
	}
	c := &Config{
		Namespace: raw.Namespace, AWS: raw.AWS, Redis: raw.Redis, Payloads: raw.Payloads, Watch: raw.Watch,
		endpoints: map[string]queue.Endpoint{}, wiring: raw.Filters,
		sources: l.sources, values: map[string]string{}, file: file,
	}
	for key, value := range l.k.All() {
		c.values[key] = formatValue(value)
	}
	if c.Redis.Addr == "" {
		c.Redis.Addr = DefaultRedisAddr
	}
	for name, source := range merged(l.declared, l.invented) {
		e := raw.Endpoints[name]
		e.Name = name
		c.endpoints[name] = e
		l.checkEndpoint(e, source)
	}
	if c.Namespace != "" && !namespaceRule.MatchString(c.Namespace) {
		l.problems.add(l.sources["namespace"], "namespace", "is %q; want 1 to 40 letters, digits, - or _", c.Namespace)
	}
	l.checkWiring(c.wiring, slices.Sorted(maps.Keys(c.endpoints)))
	l.checkAWS(c.AWS)
	l.checkRedis(c.Redis)
	l.checkPayloads(c.Payloads)
	l.checkWatch(c.Watch, slices.Sorted(maps.Keys(c.endpoints)))
	c.payloadsDefaults()
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// namespaceRule is what both a queue's name and a Redis key may begin with. A
// queue's name has 80 characters, of which the namespace leaves some.
var namespaceRule = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

func merged(a, b map[string]Source) map[string]Source {
	m := maps.Clone(b)
	maps.Copy(m, a)
	return m
}

// checkEndpoint reports what is wrong with one endpoint, at the place that
// names it.
func (l *loader) checkEndpoint(e queue.Endpoint, source Source) {
	key := shown(join(endpointsSection, e.Name))
	if e.URL == "" {
		_, declared := l.declared[e.Name]
		near := ""
		if !declared {
			near = nearest(e.Name, slices.Sorted(maps.Keys(l.declared)), 3)
		}
		if near != "" {
			l.problems.add(source, key, "is not an endpoint of the file; did you mean %s?", near)
			return
		}
		l.problems.add(source, key, "has no url; want for example sqs://%s or sns://%s", e.Name, e.Name)
		return
	}
	err := e.Validate()
	if err == nil {
		return
	}
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		l.problems.errs = append(l.problems.errs, &Error{Source: source, Key: key, Problem: "is invalid", Err: err})
	}
}

// Endpoints returns the endpoints, with the namespace applied. It reports
// subscriptions that do not fit together.
func (c *Config) Endpoints() (*queue.Endpoints, error) {
	list := make([]queue.Endpoint, 0, len(c.endpoints))
	for _, name := range slices.Sorted(maps.Keys(c.endpoints)) {
		list = append(list, c.endpoints[name])
	}
	set, err := queue.NewEndpoints(c.Namespace, list...)
	if err != nil {
		return nil, &Error{Source: c.source(), Key: endpointsSection, Problem: "are invalid", Err: err}
	}
	return set, nil
}

// source is where most of the configuration is from.
func (c *Config) source() Source {
	if c.file.Name == "" {
		return Source{Kind: SourceEnv, Name: "environment"}
	}
	return Source{Kind: SourceFile, Name: c.file.Name}
}

// File returns the path of the file that was read, or "" if there was none.
func (c *Config) File() string { return c.file.Name }

// StoreNamespace returns the namespace of the keys in Redis: that of the
// configuration, or [DefaultStoreNamespace].
func (c *Config) StoreNamespace() string {
	if c.Namespace == "" {
		return DefaultStoreNamespace
	}
	return c.Namespace
}
