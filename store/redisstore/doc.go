// Package redisstore keeps Waybill's executions, definitions, members,
// idempotency records, locks, jobs, audit records and dead letters in Redis 6.2 or later,
// standalone, Sentinel or Cluster.
//
//	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{"127.0.0.1:6379"}})
//	st, err := redisstore.Open(ctx, redisstore.Config{Client: client, Namespace: "prod"})
//
// The client stays the caller's: Open does not change it, and nothing here
// closes it.
//
// # What Redis must be
//
// Open refuses a Redis that may evict keys: an evicted execution is a lost
// one. It reads the policy from INFO, else from CONFIG; where a server shows
// neither, Config.AcceptUnknownEviction says that you have checked it. Open
// also refuses a namespace that was created with another number of partitions
// or in another format.
//
// What an acknowledged write survives is Redis's setting, not ours:
//
//	appendfsync   the process dies    the machine dies
//	no AOF        all since the last snapshot is lost: all, without snapshots
//	everysec      nothing is lost     about one second is lost
//	always        nothing is lost     nothing is lost
//
// A failover to a replica may lose what the replica had not received. Each shard of
// a Cluster loses for itself. Package saga notices where a step's participant tells
// of a commit that is lost: see Client.Release there.
//
// A Redis whose memory is full refuses writes. Calls try again for as long as
// Config.GiveUp says: what is purged and what expires makes room.
//
// # Keys
//
// All keys of an execution share one slot of a Redis Cluster. With the
// namespace prod, and n = FNV-1a-64(id) mod the number of partitions:
//
//	prod:settings          hash  format, partitions
//	prod:workers           zset  live workers, by the end of their heartbeat
//	prod:definitions       hash  name, NUL, version -> graph
//	prod:{p<n>}:x:<id>     hash  the execution: fence, chain, status, frames
//	prod:{p<n>}:h:<id>     list  its history, one entry a commit
//	prod:{p<n>}:m:<id>     list  its unread mail
//	prod:{p<n>}:d:<id>     zset  ids of its last mails, to drop repeats
//	prod:{p<n>}:t          zset  timers: one wake-up an execution, in ms
//	prod:{p<n>}:z          zset  tombstones of purged executions
//	prod:{p<n>}:i:<index>  zset  the executions of an index, by their start
//	prod:{p<n>}:k:<key>    hash  an idempotency record
//	prod:{p<n>}:l:<lock>   hash  a lock that is held, and who waits for it
//	prod:{p<n>}:lq:<lock>  zset  the requests that wait for it, in their order
//	prod:{p<n>}:lh:<lock>  zset  the requests that share it with its holder
//	prod:{p<n>}:lr:<lock>  zset  its requests that were released, by until when
//	                             they are remembered
//	prod:{p<n>}:ll         zset  the locks that are held, by since when
//	prod:{p<n>}:lf         string  the last fence that the partition gave
//
// Those of jobs and audit records go by their subject, which n is of:
//
//	prod:{p<n>}:jo:<subject>  hash  its job that has not ended, and the lease
//	prod:{p<n>}:je:<subject>  hash  the journal of that job: key -> state
//	prod:{p<n>}:jk:<subject>  zset  the keys of the journal, all with score 0
//	prod:{p<n>}:jh:<subject>  zset  its jobs, by when they were made
//	prod:{p<n>}:jx:<subject>  zset  those that have ended, by until when they are
//	                                on record
//	prod:{p<n>}:js            zset  the subjects with jobs, by until when the last
//	                                one is on record; 0 while one has not ended
//	prod:{p<n>}:a:<subject>   zset  its audit records, by their numbers
//	prod:{p<n>}:ar:<subject>  hash  record -> until when it is kept, when it was
//	                                added, and its body
//	prod:{p<n>}:ax:<subject>  zset  its records, by until when they are kept
//	prod:{p<n>}:as            zset  the subjects with records, by until when the
//	                                last one is kept
//	prod:{p<n>}:an            string  the last number of a record in the partition
//
// and with the length of the subject, so that its colons do no harm:
//
//	prod:{p<n>}:j:<length>:<subject>:<job>      hash  a job
//	prod:{p<n>}:ai:<length>:<subject>:<record>  hash  page -> items of a record
//
// The letters of a queue are in 256 buckets, by FNV-1a-64 of the queue's name, NUL
// and the letter's id, so that no key gets large. Bucket b is in the partition b
// places after that of the queue's name, and p<n> that one:
//
//	prod:{p<n>}:c:<b>:<queue>             zset    id, NUL and summary of each letter
//	                                              of a bucket, all with score 0
//	prod:{p<n>}:cl:<length>:<queue>:<id>  string  a letter: length of the summary,
//	                                              colon, summary, body
//	prod:{p<n>}:cq                        hash    queue -> how many letters of it the
//	                                              partition has
//
// A summary is items like those of a page: name, reason, filter, type, frame, source,
// attributes, shape, and when the message failed first and last in ms, which are empty
// for no time. These keys have no time to live.
//
// The fields of an execution's hash are v the format version, when it was started,
// and match; h meta; s status and index; c the last commit, and the openings since;
// n epoch and, while somebody holds it, the lease's nonce; w the lease's expiry, or
// the wake-up while nobody holds it; mn mails posted, mt mails absorbed; o outbox;
// z set once it has ended; and one field a frame: f: is the root's. Some hold
// several values, because a field more takes 50 bytes.
//
// Mail that comes before its execution lies in the same keys, and its hash has
// mn, mt and y alone: y is until when each mail waits. These keys have a time to
// live, a minute longer than the last of their mails, and the hash two minutes;
// the start takes it off them.
//
// The fields of an idempotency record are t the token of its claim, u until when
// it stands and, once it is completed, r the result. Where attempts are counted,
// n is the attempt that the result is of alone, a the highest that was seen, s
// until when that counts, and b the highest that was seen before the claim. Its
// key lives a minute longer than a claim, and an hour longer than a result and
// what is remembered of attempts, because u and s decide.
//
// The fields of a lock's hash are o the owner, r the request, g the group, f the
// fence and s since when, of its holder; n how many others have come since the lock
// was free; and q:<request>, of one that waits or shares it, since when, the length
// of the group's name, that, and the owner. A lock that is
// free has none of these keys. What is remembered of its requests goes a minute
// after the last of them is forgotten.
//
// The fields of jo are i the job, f the fence, o the owner and s since when, of the
// last opening; and until that is given back t its token, u when the lease expires,
// and q the number of the last note. Those of a job are c when it was made, sp its
// spec, n its openings, o, f and s of the last one, t when its worker was last heard
// of, p progress and st status; by and ca who told it to stop, and when; cl the fence
// of the last closing, with 1 if it ended the job and 0 if not, and ct the token; and
// once it has ended e when, and x until when it is on record. That decides: a job's
// key lives a minute longer, and so do jh and jx, after the last of their jobs, unless
// one has not ended. With the keys of audit records it is the same. What is over goes
// from the sets with the subject's next job that ends or record that is added.
//
// An item of a page is its length, a colon, and its text.
//
// A fence is the time in microseconds, or one more than the partition's last one
// if that is higher. So is the number of an audit record. So it grows while Redis keeps its data, whatever the clock
// does, and while the clock goes on, whatever Redis has lost.
//
// The scripts are the .lua files beside this one, each under a header that
// tells its keys, arguments and answers. They check before they write.
//
// # Calls of the same moment
//
// With a [redis.Client], a call that begins while four others are under way waits
// until one of these is back, and goes out with all that wait by then, in one
// write. At 50 calls at once that takes a fifth off what Redis and the client take
// of the processor; up to four at once, nothing changes. Calls with more than
// 16 KiB of arguments go by themselves. So do all calls to a cluster.
//
// # What locks cost
//
// Taking a lock is one script, and giving it back another, which also grants it
// to the next. One that is held takes 150 bytes, besides names; each request that
// waits for it, and each that is remembered as released, 40 to 200 bytes.
//
// # What jobs and audit records cost
//
// A note is one script, whatever it says; one of 100 entries takes five times as
// long as one of a single entry. An entry of a journal with a key of 36 bytes and a
// state of 64 takes 330 bytes while it is there. A job that has ended takes 650
// bytes on record, besides its spec and progress, and an audit record 430, besides
// its body and 40 bytes for each item of 36.
//
// # What dead letters cost
//
// To put 100 letters takes up to 100 scripts, 16 at once: one for each bucket. A page
// of summaries takes two round trips, and one of letters four, whatever its size.
//
// # The effects of handlers
//
// A [Barrier] is no part of the store: it is for handlers whose effects are in a
// Redis of their own, which it makes once.
//
// # What idempotency records cost
//
// A record stays for store.Once.Retention, 15 days by default. With a key of 36
// bytes it takes this much of the memory of Redis 7.0, 60 to 90 bytes of it
// outside of what MEMORY USAGE shows:
//
//	result        memory
//	none          230 bytes
//	64 bytes      300 bytes
//	200 bytes     650 bytes    from 65 bytes on Redis stores it less densely
//	1000 bytes    1450 bytes   and so on: 450 bytes and the result
//
// N messages a day are 15 N records: at 100,000 messages a day with results of
// 64 bytes 450 MB, and with results of 1000 bytes 2.2 GB. Redis must have that
// besides the executions, since it may not evict. A shorter retention costs less,
// and a small result most of all: store what repeats need, not the whole reply.
// The result of one attempt alone, and an attempt that nobody completed, are kept
// as long, with up to 110 bytes more.
package redisstore
