// Package dlq looks into dead-letter queues and redrives them: any SQS queue,
// whether Waybill filled it or not.
//
//	queues, err := queue.NewAdmin(queue.AdminConfig{AWS: cfg, Endpoints: endpoints})
//	c, err := dlq.New(dlq.Config{Queues: queues})
//
//	list, err := c.List(ctx)                     // the dead-letter queues and their sources
//	letters, err := c.Peek(ctx, "fares-dlq", 10) // with the record of their failure
//	report, err := c.Redrive(ctx, dlq.Options{From: "fares-dlq"})
//
// A queue is named as for queue.Admin: by an endpoint, by its name, its URL or
// its ARN.
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
// # What is guaranteed
//
// No message is lost: each is deleted from the dead-letter queue after its
// destination has accepted it, and never before. A process that dies, an answer
// that is lost, or a delete that fails can leave a message in both queues, and
// the next redrive sends it again under the same id. An idempotent receiver
// drops the repeat: see pipeline.Idempotent.
//
// A redrive looks at as many messages as the queue held when it began. Messages
// that it had sent and that failed again meanwhile carry its id and stay.
//
// # What it costs
//
// About 0.3 requests a message with nothing filtered. SQS shows a message only
// to who receives it, so to peek, to filter and to run dry raise receive counts
// and hide messages for a moment. What is looked at and not chosen stays hidden
// until the job ends; SQS allows 120,000 such messages a queue, and the job
// ends with an error when it meets that limit. In a FIFO queue, a message that
// is not chosen hides the rest of its group.
package dlq
