// Package config loads what a Waybill program needs to know about its
// surroundings: the namespace, where SQS, SNS and Redis are, where payloads go that
// are too large for a queue, and what each endpoint's name stands for. The waybill command and the programs of its users
// load the same file, so that they mean the same queues:
//
//	cfg, err := config.Load()
//	endpoints, err := cfg.Endpoints()
//	awsFor, err := cfg.AWS.LoadFor(ctx, endpoints)
//	client := redis.NewUniversalClient(cfg.Redis.Options())
//
// # Precedence
//
// For every setting alike, from the strongest:
//
//	a flag or an option    [WithFlag], [WithValue]
//	the environment        WAYBILL_NAMESPACE, ...
//	the file               waybill.yaml
//	the default
//
// An address of Redis replaces all that weaker layers say about Redis, so that
// no password goes to a server that it is not for. A payloads.store of another kind
// replaces what weaker layers say of that one's place, all but claim_above and
// max_payload, so that WAYBILL_PAYLOADS_STORE=redis moves a program from its bucket
// to the Redis of development. `waybill config show` tells where each value came
// from.
//
// # The file
//
// The file is the one that [WithFile] or WAYBILL_CONFIG names, else
// waybill.yaml in the working directory, if it is there. All of it is optional;
// of an endpoint, only its url is required. A key that does not exist is an
// error, which names the line and the nearest key that does. Nothing in the file
// is expanded: ${HOME} is a text of seven characters.
//
//	namespace: prod                  # queues, topics and keys begin with prod
//
//	aws:
//	  endpoint_url: http://127.0.0.1:4566
//	  region: eu-central-1
//
//	redis:
//	  addr: redis.internal:6379      # or redis://user:password@host:port/db, rediss:// for TLS;
//	  username: waybill              # several with commas are a Redis Cluster
//	  password: secret
//	  db: 0
//	  tls: false
//
//	payloads:                        # of messages that are too large for a queue, of all endpoints
//	  store: s3                      # or redis, the one above, which takes the next three alone
//	  claim_above: 65536             # bytes; by default each endpoint's max_message_size
//	  max_payload: 67108864          # bytes; a message with more goes back to its queue
//	  prefix: prod/payload/          # of keys; the default begins with the namespace
//	  bucket: rides-payloads         # or the ARN of an access point
//	  expire_days: 42                # the days of the bucket's lifecycle rule
//	  owner: "123456789012"          # the account that must own the bucket
//	  kms_key: alias/payloads
//	  region: eu-west-1              # of the bucket; by default that of aws
//	  endpoint_url: https://minio.internal:9000
//	  virtual_hosted: false          # true has the bucket in the host of such a URL, not in its path
//	  profile: payloads              # as of an endpoint
//	  role_arn: arn:aws:iam::123456789012:role/payloads
//	  external_id: waybill
//
//	watch:                           # how waybill dlq watch watches dead-letter queues
//	  interval: 30s
//	  depth: 10                      # messages that raise an alarm; -1 for no bound
//	  depth_low: 5                   # below it the alarm is cleared
//	  growth: 100                    # more messages than a window before
//	  growth_low: 50
//	  window: 15m
//	  raise_after: 2                 # readings in a row
//	  clear_after: 3
//	  remind: 4h                     # an alarm that stands is told again
//	  notify: alarms                 # the endpoint of notices
//	  metrics: 127.0.0.1:9464        # for Prometheus
//	  queues:                        # where they differ: an endpoint, or a dead-letter queue
//	    fares: {depth: 1000, growth: -1}
//
//	endpoints:
//	  fares:
//	    url: sqs://fares             # a queue; sqs://123456789012/fares is another account's
//	    dead_letter: sqs://fares-dlq
//	    max_receive_count: 5
//	    visibility: 30s
//	    retention: 4d
//	    dead_letter_retention: 14d
//	    delay: 0s
//	    concurrency: 64
//	    pollers: 4
//	    min_pollers: 1
//	    max_message_size: 1048576    # bytes
//	    attributes: [fare]           # metadata that stays native attributes
//	    region: eu-west-1            # of this endpoint alone
//	    endpoint_url: http://127.0.0.1:4567
//	    profile: rides               # of the AWS SDK's own files
//	    role_arn: arn:aws:iam::123456789012:role/fares
//	    external_id: waybill         # what the role's trust policy asks for
//
//	  fares-completed:
//	    url: sns://fares-completed   # a topic
//	    subscriptions:
//	      - endpoint: fares
//	        enveloped: false         # true wraps messages in SNS's envelope
//	        filter: {success: ["true"], fare: [{numeric: [">=", 50]}]}
//	        filter_scope: MessageAttributes   # or MessageBody
//
//	filters:                         # the routes of a pipeline's filters, over those in the code
//	  charge:
//	    from: fares
//	    to: [charged, audit]
//	    outlets: {declined: [refused]}
//
// [queue.Endpoint] tells what each setting of an endpoint means, and its default
// and bounds, [Payloads] those of payloads, and [Watch] those of watch. Durations carry their unit: 30s, 15m, 12h, 14d, 1d12h. A filter
// may also be a text of JSON.
//
// # The environment
//
//	WAYBILL_CONFIG            the file
//	WAYBILL_NAMESPACE         namespace
//	WAYBILL_ENDPOINT_URL      aws.endpoint_url; else AWS_ENDPOINT_URL
//	AWS_REGION                aws.region; else AWS_DEFAULT_REGION
//	WAYBILL_REDIS             redis.addr
//	WAYBILL_REDIS_USERNAME    redis.username
//	WAYBILL_REDIS_PASSWORD    redis.password
//	WAYBILL_REDIS_DB          redis.db
//	WAYBILL_REDIS_TLS         redis.tls
//	WAYBILL_PAYLOADS_STORE    payloads.store; and so on: WAYBILL_PAYLOADS_<SETTING>
//	WAYBILL_WATCH_DEPTH       watch.depth; and so on: WAYBILL_WATCH_<SETTING>
//
// An empty variable counts as unset. A setting of an endpoint is
// WAYBILL_ENDPOINTS_<NAME>_<SETTING>, with the name in upper case and _ for -
// and .: WAYBILL_ENDPOINTS_FARES_COMPLETED_URL is the url of fares-completed.
// Lists are written as YAML or JSON, and attributes also with commas.
//
// A variable that fits an endpoint of the file is that endpoint's. One that
// fits several settings is an error. Any other makes an endpoint, whose name is
// in lower case with - for _, and whose setting is the longest that the
// variable ends with; that endpoint needs its URL. So an endpoint whose name
// has other characters must stand in the file. The route of a filter is set by
// WAYBILL_FILTERS_<NAME>_FROM and WAYBILL_FILTERS_<NAME>_TO, likewise.
//
//	p, err := pipeline.New(pipeline.Config{Wiring: cfg.Wiring(), ...})
//
// # Payloads
//
// Package config/payloadstore opens the store that the configuration names. It is
// apart so that a program without one has no client of S3:
//
//	store, closeStore, err := payloadstore.Open(ctx, cfg)
//	...
//	defer closeStore()
//	pub, err := queue.NewPublisher(queue.PublisherConfig{
//		AWSFor: awsFor, Endpoints: endpoints, Payloads: store, ClaimAbove: cfg.Payloads.ClaimAbove,
//	})
//	sub, err := queue.NewSubscriber(queue.SubscriberConfig{
//		AWSFor: awsFor, Endpoints: endpoints, Payloads: store, MaxPayload: cfg.Payloads.MaxPayload,
//	})
package config
