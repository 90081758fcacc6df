// Package dlq looks into dead-letter queues, redrives, archives and watches them: any
// SQS queue, whether Waybill filled it or not.
//
//	queues, err := queue.NewAdmin(queue.AdminConfig{AWS: cfg, Endpoints: endpoints})
//	c, err := dlq.New(dlq.Config{Queues: queues})
//
//	list, err := c.List(ctx)                     // the dead-letter queues and their sources
//	letters, err := c.Peek(ctx, "fares-dlq", 10) // with the record of their failure
//	causes, err := c.Groups(ctx, "fares-dlq", dlq.GroupOptions{})
//	letter, err := c.Show(ctx, "fares-dlq", causes.Groups[0].Sample, 0)
//	report, err := c.Redrive(ctx, dlq.Options{From: "fares-dlq"})
//
// A queue is named as for queue.Admin: by an endpoint, by its name, its URL or
// its ARN.
//
// [Seen] keeps in a file what queues held, and tells how they have grown.
// [Client.FindAges] finds the ages of oldest messages: where the endpoint shows no
// messages without their being received, SQS does not tell, and package
// queue/sqsmetrics asks CloudWatch.
//
// # Causes
//
// [Client.Groups] tells how many messages failed in which way: by the reason, the
// filter, the type of the error, where it arose and the hour, as the record of the
// failure has them. A message without a record, which Waybill did not write or
// whose process died, is grouped by what it has: when it was sent, the queue that
// SQS moved it from, the names of its attributes and the shape of its body.
// [Client.Show] returns one message by its id. Both look at up to 10,000 messages,
// or as many as they are told to, up to 100,000, and of what they have seen keep no
// more than what returns it to the queue.
//
// # Redrive
//
// [Client.Redrive] sends messages back to where they came from: by the record
// that package pipeline writes, by what SQS noted when it moved a message
// itself, or, where neither tells, to the only source that there is. It goes
// only to queues that SQS lists as sources of the dead-letter queue, or that
// configuration has as endpoints; what a message says about itself is not
// trusted further. Options.To sends everything to one queue instead.
//
// A message arrives as it was, with all attributes and their types, but for the
// record of its failure, which is removed, and three marks: its own id where it
// had none, the id of the job, and how often it was redriven. A message whose
// writer used all ten attributes, or all of the size limit, goes without those
// that do not fit.
//
// Options.Edit mends messages on their way; [ParseEdit] makes one of an expression
// of jq, and a dry run with Options.Diffs tells what it changes:
//
//	edit, err := dlq.ParseEdit(".body.amount |= fabs")
//	report, err := c.Redrive(ctx, dlq.Options{From: "fares-dlq", Edit: edit.Apply, DryRun: true, Diffs: 3})
//
// # Export, import and purge
//
// [Client.Export] writes messages as JSON Lines, one object each in UTF-8:
//
//	v                   the version of the format, 1
//	queue               the name of the queue that it was in
//	id, message_id      the id that its receivers know it by, and SQS's
//	source              where it came from, by its record or by SQS
//	failure             the record of its failure as it is, for readers
//	encoding, body      text, or base64 of bytes that are no text
//	attributes          each with its type, such as Number.int, encoding and value;
//	                    a Binary value is in base64
//	group, deduplication_id, sequence, trace
//	                    of a FIFO or fair queue, and the header of X-Ray
//	receive_count, sent_at, first_received_at, dead_letter_source
//	                    as SQS has them
//
// [Client.Import] makes the message of body, attributes, group and trace, and sends
// each line once; SQS gives it the rest anew. A reader refuses fields that it does
// not know, and a higher version. [Client.Purge] deletes messages, and writes such
// lines to an archive first.
//
// # The catalogue
//
// [Client.Ingest] moves the messages of a queue into Config.Catalogue, where they stay
// for as long as it takes, and can be grouped, filtered and redriven in any number:
//
//	moved, err := c.Ingest(ctx, "fares-dlq", dlq.IngestOptions{Owner: "ann", Reason: "three causes"})
//	causes, err := c.Catalogue().Groups(ctx, "fares-dlq", dlq.GroupOptions{})
//	report, err := c.Catalogue().Redrive(ctx, dlq.Options{From: "fares-dlq", Filter: mended})
//
// The client that [Client.Catalogue] returns works on it as others do on queues: its
// Peek, Groups, Show, Export, Purge and Redrive. A message is deleted from its queue
// after the catalogue has it, and from the catalogue after its destination, or the
// archive, has it. What a catalogue in Redis keeps when the machine crashes is said by
// package redisstore: with appendfsync everysec the last second may be lost.
//
// The catalogue has a message as a line of an export, under SQS's id, so that to ingest
// it once more changes nothing. Groups are made of summaries, without reading the
// letters, unless there is a filter, or the attributes or the body are asked for. The
// groups of a FIFO queue keep their order: where a message fails, the rest of its group
// fails, too, and stays.
//
// # What is guaranteed
//
// No message is lost by a redrive: each is deleted from the dead-letter queue
// after its destination has accepted it, and never before. A process that dies,
// an answer that is lost, or a delete that fails can leave a message in both
// queues, and the next redrive sends it again under the same id. An idempotent
// receiver drops the repeat: see pipeline.Idempotent.
//
// There is one exception, and it is not of the redrive's making: SQS deletes a
// message when the queue's retention ends, which a standard queue counts from
// when the message was first sent, also while a job is under way. A job whose
// Rate is too low for that says so in Report.Warning as soon as it has seen
// messages, and so does its dry run. What runs out while the job holds it is
// sent all the same; what then cannot be sent is lost, and counts in
// Report.Expired. Give a dead-letter queue a retention of 14 days.
//
// A message whose payload is in a queue.PayloadStore is sent back with its
// reference. With Config.Payloads, the store keeps the payload for as long as if
// the message were published anew; a message whose payload is gone stays, and
// counts as failed. Without it, as in SQS's own redrive, the payload keeps the time
// that it had. The command waybill dlq has the store that waybill.yaml names. A peek, a
// filter and an edit see the payload, and without a store the reference, which a
// [Letter] tells by Stored; a message whose payload cannot be fetched is not chosen
// by a filter, nor edited, and counts as failed. A filter of named fields other than
// body, problem and stored has no payload fetched.
//
// A redrive looks at as many messages as the queue held when it began. Messages
// that it had sent and that failed again meanwhile carry its id and stay. What
// other receivers hold, it does not wait for.
//
// # A canary
//
// With Options.Canary a redrive sends a few messages first, and awaits what becomes of
// them before it goes on:
//
//	report, err := c.Redrive(ctx, dlq.Options{From: "fares-dlq", Canary: dlq.Canary{Messages: 20, MaxFailures: 1}})
//
// It knows of a message that it is done from the record that its idempotent receiver
// keeps, where Config.Records has those, and that it has died when it is back in the
// dead-letter queue. Of what neither tells, it infers that it is done when the time to
// watch is over, and counts that apart; but of a queue that nobody receives from, or
// whose dead letters go elsewhere, it infers nothing, and of what nothing tells it takes
// that it died. Where too many did, the error is a [*CanaryError]: the others are where
// they were, and the job has ended, unless messages of an earlier process are in hand.
//
// # One at a time, and going on
//
// With Config.Jobs, a redrive is a job: it holds a lease on the dead-letter queue,
// so that a second one is told who is at it (a [store.JobHeldError]), and keeps a
// journal of what it has in hand. A message is noted as sending, with where it
// goes and under which deduplication id, before it is sent; as sent, with its new
// id, before it is deleted; and its entry is removed after that. A job that was
// interrupted, whose process died, or that lost its lease does not end: until
// [Client.Resume] goes on with it, or [Client.Cancel] gives it up, no other begins
// (a [store.JobOpenError]). Who goes on deletes what was sent, sends again under
// the same id what may have been, and looks at the rest anew, as the job was told
// to begin with: what came into the queue since it was made is not its affair.
// What is left in doubt is in the report, as Unknown. [Client.Status] and
// [Client.History] tell how far jobs are.
//
// A worker that cannot reach the store stops before it sends anything more when
// its lease has run out by its own clock. A send that is under way then is beyond
// that: SQS knows no fence. Its message has an entry, and who goes on may send it a
// second time.
//
// With Config.Audit, each run is on record: who began it, why, and what it was to
// do, with SQS's ids of what it sent; and what came of it. Nothing is sent that
// cannot be recorded to begin. See [AuditEntry].
//
// Without Config.Jobs there is neither lease nor journal: a redrive keeps no state
// but the messages themselves, their ids and their marks. So the same redrive, run
// again after a failure or a crash, takes up what is left, and may send again what
// was sent before and not deleted. Two redrives of one queue at once share its
// messages, since SQS shows a message to one receiver at a time. Each sees a part,
// and may end before the other is through. No message is lost by it. One is sent
// twice where the first job could not keep it hidden, and, since a job knows only
// its own marks, one job may send again what the other had sent and what failed
// again meanwhile.
//
// [Client.Move] has SQS itself move all messages to a queue, as they are. It needs
// no store, and takes the lease and is on record where there is one.
//
// # Records
//
// With Config.Audit, what changes a queue is on record, with who did it, why and to
// which messages. What cannot be recorded is not begun. [Client.Audits] lists it:
//
//	list, err := c.Audits(ctx, dlq.AuditQuery{Queue: "fares-dlq", Since: yesterday})
//	for id, err := range c.AuditItems(ctx, list[0]) { ... }
//
// # Watch
//
// A [Watcher] reads dead-letter queues at an interval, all of them or those that are
// named, and raises an alarm about one that holds too much or grows too fast:
//
//	w, err := c.NewWatcher(dlq.WatchConfig{
//		Limits:    dlq.Limits{Depth: 10, Growth: 100},
//		Publisher: publisher, Endpoint: "alarms",
//	})
//	err = w.Run(ctx)
//
// [Limits] has the rules. SQS's counts are approximate, so an alarm takes several
// readings in a row to be raised, and to be cleared, which is at a lower bound. A
// queue that cannot be read clears nothing, and is itself an alarm. Each alarm that
// is raised or cleared is a [Notice], a message of JSON to a topic or queue:
//
//	{"v":1,"event":"raised","alarm":"depth","queue":"fares-dlq","url":"https://...",
//	 "sources":["fares"],"value":12,"high":10,"low":5,"depth":12,"in_flight":0,
//	 "growth":12,"window_seconds":900,"since":"...","at":"..."}
//
// A notice that cannot be published is tried again until it is out, with the same
// id; those behind it wait. It is kept in memory: with the process go the notices
// that are not out, which Run then says, and what it knew. So a watcher that is
// started anew raises once more what is still so. Package dlq/promdlq has metrics.
//
// # What it costs
//
// About 0.3 requests a message with nothing filtered, and two notes of the journal
// a batch of ten, or fewer: what the workers have to note at one moment is one note.
// Memory does not grow with the queue. SQS shows a message only to who receives it
// (LocalStack and Waybill's emulator do not ask for that), so to peek, to group, to
// show, to filter and to run dry raise
// receive counts and hide messages for a moment. What is looked at and not chosen stays hidden
// until the job ends; SQS allows 120,000 such messages a queue, and the job
// ends with an error when it meets that limit. In a FIFO queue, a message that
// is not chosen hides the rest of its group.
package dlq
