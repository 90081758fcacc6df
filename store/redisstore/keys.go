package redisstore

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/waybill-dev/waybill/store"
)

// keys makes the names of all keys; nothing else does.
type keys struct {
	namespace  string
	partitions int
}

func (k keys) settings() string    { return k.namespace + ":settings" }
func (k keys) workers() string     { return k.namespace + ":workers" }
func (k keys) definitions() string { return k.namespace + ":definitions" }

// partition is part of the stored format: see the package documentation.
func (k keys) partition(id string) int {
	h := fnv.New64a()
	h.Write([]byte(id))
	return int(h.Sum64() % uint64(k.partitions))
}

func (k keys) prefix(partition int) string {
	return k.namespace + ":{p" + strconv.Itoa(partition) + "}:"
}

func (k keys) timers(partition int) string { return k.prefix(partition) + "t" }

func (k keys) index(partition int, name string) string {
	return k.prefix(partition) + "i:" + name
}

func (k keys) idempotency(key string) string {
	return k.prefix(k.partition(key)) + "k:" + key
}

// lockKeys are the keys of one lock and of its partition.
type lockKeys struct {
	prefix   string
	resource string
}

func (k keys) lock(resource string) lockKeys {
	return lockKeys{prefix: k.prefix(k.partition(resource)), resource: resource}
}

func (l lockKeys) record() string   { return l.prefix + "l:" + l.resource }
func (l lockKeys) queue() string    { return l.prefix + "lq:" + l.resource }
func (l lockKeys) sharers() string  { return l.prefix + "lh:" + l.resource }
func (l lockKeys) released() string { return l.prefix + "lr:" + l.resource }
func (l lockKeys) fence() string    { return l.prefix + "lf" }
func (l lockKeys) held() string     { return l.prefix + "ll" }

func (k keys) locks(partition int) string { return lockKeys{prefix: k.prefix(partition)}.held() }

// jobKeys are the keys of one job, of its subject and of its partition.
type jobKeys struct {
	prefix      string
	subject, id string
}

func (k keys) job(subject, id string) jobKeys {
	return jobKeys{prefix: k.prefix(k.partition(subject)), subject: subject, id: id}
}

func (j jobKeys) record() string   { return j.prefix + "j:" + pair(j.subject, j.id) }
func (j jobKeys) open() string     { return j.prefix + "jo:" + j.subject }
func (j jobKeys) journal() string  { return j.prefix + "je:" + j.subject }
func (j jobKeys) order() string    { return j.prefix + "jk:" + j.subject }
func (j jobKeys) all() string      { return j.prefix + "jh:" + j.subject }
func (j jobKeys) ended() string    { return j.prefix + "jx:" + j.subject }
func (j jobKeys) subjects() string { return j.prefix + "js" }
func (j jobKeys) fence() string    { return lockKeys{prefix: j.prefix}.fence() }

// auditKeys are the keys of one audit record, of its subject and of its partition.
type auditKeys struct {
	prefix      string
	subject, id string
}

func (k keys) audit(subject, id string) auditKeys {
	return auditKeys{prefix: k.prefix(k.partition(subject)), subject: subject, id: id}
}

func (a auditKeys) numbers() string  { return a.prefix + "a:" + a.subject }
func (a auditKeys) kept() string     { return a.prefix + "ax:" + a.subject }
func (a auditKeys) records() string  { return a.prefix + "ar:" + a.subject }
func (a auditKeys) items() string    { return a.prefix + "ai:" + pair(a.subject, a.id) }
func (a auditKeys) subjects() string { return a.prefix + "as" }
func (a auditKeys) last() string     { return a.prefix + "an" }

// letterKeys are the keys of one bucket of a queue's letters, and of its partition.
type letterKeys struct {
	prefix string
	queue  string
	bucket int
}

// letterBucket is the bucket that has a letter. It is part of the stored format.
func letterBucket(queue, id string) int {
	return keys{partitions: store.LetterBuckets}.partition(queue + "\x00" + id)
}

// letters spreads the buckets of a queue over the partitions, from that of its
// name on.
func (k keys) letters(queue string, bucket int) letterKeys {
	return letterKeys{prefix: k.prefix((k.partition(queue) + bucket) % k.partitions), queue: queue, bucket: bucket}
}

func (l letterKeys) summaries() string {
	return l.prefix + "c:" + strconv.Itoa(l.bucket) + ":" + l.queue
}
func (l letterKeys) letter(id string) string { return l.prefix + "cl:" + pair(l.queue, id) }
func (l letterKeys) queues() string          { return l.prefix + "cq" }

// pair names what belongs to a subject, which may have colons itself.
func pair(subject, id string) string { return strconv.Itoa(len(subject)) + ":" + subject + ":" + id }

// executionKeys are the keys of one execution and of its partition.
type executionKeys struct {
	prefix string
	id     string
}

func (k keys) execution(id string) executionKeys {
	return executionKeys{prefix: k.prefix(k.partition(id)), id: id}
}

func (e executionKeys) record() string           { return e.prefix + "x:" + e.id }
func (e executionKeys) history() string          { return e.prefix + "h:" + e.id }
func (e executionKeys) mail() string             { return e.prefix + "m:" + e.id }
func (e executionKeys) seen() string             { return e.prefix + "d:" + e.id }
func (e executionKeys) timers() string           { return e.prefix + "t" }
func (e executionKeys) tombstones() string       { return e.prefix + "z" }
func (e executionKeys) index(name string) string { return e.prefix + "i:" + name }

// checkNamespace keeps a namespace free of what has a meaning in keys and in
// queue names.
func checkNamespace(field, ns string) error {
	if ns == "" {
		return fmt.Errorf("redisstore: %s is empty; name it after the environment, like %q", field, "prod")
	}
	if len(ns) > 64 {
		return fmt.Errorf("redisstore: %s %q has %d characters, at most 64 are allowed", field, ns, len(ns))
	}
	for _, r := range ns {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
		default:
			return fmt.Errorf("redisstore: %s %q contains %q; letters, digits, - and _ are allowed", field, ns, r)
		}
	}
	return nil
}
