package archtest

// A pattern names packages by their path below the module's root: one package
// ("queue"), a package and all below it ("cmd/..."), all packages ("..."), or
// all that users can import ("public").

// arrows lists, for each pattern of packages, the packages of ours that they may
// import. The most specific pattern counts. Imports run one way: towards the
// packages that import nothing of ours.
var arrows = map[string][]string{
	"eventpattern":     {},
	"store":            {},
	"store/memstore":   {"store"},
	"store/redisstore": {"store"},
	"store/storetest":  {"store"},

	"queue":          {},
	"queue/emulator": {"eventpattern"},
	"queue/topology": {"queue"},

	"queue/otelqueue":    {"queue"},
	"queue/redispayload": {"queue"},
	"queue/s3payload":    {"queue"},
	"queue/sqsmetrics":   {"queue"},

	"saga":          {"store"},
	"saga/sagatest": {"saga", "store", "store/memstore"},
	"asl":           {"saga"},
	"asl/awstasks":  {"asl", "saga"},
	"pipeline":      {"queue", "store"},
	"dlq":           {"queue", "store"},
	"dlq/promdlq":   {"dlq"},
	"bus":           {"eventpattern", "queue", "store", "saga"},

	"config":              {"pipeline", "queue"},
	"config/payloadstore": {"config", "queue", "queue/redispayload", "queue/s3payload"},
	"waybilltest":         {"queue", "queue/emulator", "queue/topology", "store", "store/redisstore"},

	"localstack": {},

	"cmd/...":      {"...", "cmd/..."},
	"examples/...": {"public", "examples/..."},

	"internal/archtest":    {},
	"internal/killtest":    {},
	"internal/payloadtest": {"queue"},
	"internal/sagabench":   {"saga", "store", "store/redisstore"},
	"internal/testserver":  {},
}

// libraries lists, for each prefix of import paths outside of the module, the
// packages that may import it. The longest prefix counts.
var libraries = map[string][]string{
	// The clients of Redis and of AWS stay behind the packages that own them;
	// config, waybilltest, the binary and the examples only make clients and
	// hand them on. The benchmark also asks Redis for its CPU time.
	"github.com/redis/go-redis/v9": {"store/redisstore", "queue/redispayload", "config", "config/payloadstore", "waybilltest", "internal/sagabench", "cmd/...", "examples/..."},
	"github.com/aws":               {"queue", "queue/topology", "queue/s3payload", "queue/sqsmetrics", "asl/awstasks", "config", "config/payloadstore", "waybilltest", "cmd/...", "examples/..."},

	// Who keeps no payloads in a bucket has no client of S3.
	"github.com/aws/aws-sdk-go-v2/service/s3": {"queue/s3payload", "config/payloadstore"},

	// Who asks for no metrics has no client of CloudWatch.
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch": {"queue/sqsmetrics"},

	"github.com/ThreeDotsLabs/watermill":     {"queue", "queue/otelqueue", "saga", "pipeline", "dlq", "bus", "cmd/...", "examples/..."},
	"github.com/ThreeDotsLabs/watermill-aws": {},
	"github.com/alicebob/miniredis/v2":       {"waybilltest"},

	"github.com/go-viper/mapstructure/v2": {"config"},
	"github.com/knadh/koanf":              {"config"},
	"go.yaml.in/yaml/v3":                  {"config", "cmd/..."},
	"github.com/spf13":                    {"cmd/...", "examples/..."},
	"github.com/itchyny/gojq":             {"dlq", "cmd/..."},
	"github.com/segmentio/encoding":       {"saga"},

	// Who does not trace does not import it. The SDK is for tests.
	"go.opentelemetry.io/otel":     {"queue/otelqueue"},
	"go.opentelemetry.io/otel/sdk": {},

	// Who wants no metrics has no client of Prometheus.
	"github.com/prometheus/client_golang": {"dlq/promdlq", "cmd/..."},

	"github.com/cenkalti/backoff/v4": {"store/redisstore", "queue", "saga", "pipeline", "dlq", "examples/..."},
	"github.com/google/uuid":         {"..."},
	"github.com/oklog/ulid/v2":       {"..."},
	"golang.org/x/sync":              {"..."},

	"go.uber.org/goleak": {"store/storetest", "saga/sagatest"},
	"pgregory.net/rapid": {"store/storetest", "saga/sagatest"},
}
