package emulator

import "regexp"

// Bounds on batches: SQS developer guide, "Amazon SQS message quotas".
const (
	maxBatchEntries = 10
	maxBatchSize    = 1 << 20
)

var entryID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// batchFault checks what all batches have in common: how many entries there are, and their ids.
func batchFault(operation string, ids []string) *Error {
	switch n := len(ids); {
	case n == 0:
		return errSimpleQueueService("EmptyBatchRequest", "There should be at least one %sRequestEntry in the request.", operation)
	case n > maxBatchEntries:
		return errSimpleQueueService("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent %d.", n)
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		switch {
		case !entryID.MatchString(id):
			return errSimpleQueueService("InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
		case seen[id]:
			return errSimpleQueueService("BatchEntryIdsNotDistinct", "Id %s repeated.", id)
		}
		seen[id] = true
	}
	return nil
}

// batchOutput is the output of every batch. Each entry is in one of its lists.
type batchOutput struct {
	successful []batchSuccess
	failed     []batchFailure
}

type batchSuccess struct {
	id   string
	sent sentMessage // without content where nothing was sent
}

type batchFailure struct {
	id  string
	err *Error
}

// run carries out one entry, and files what became of it.
func (o *batchOutput) run(c *call, e Entry, f func() *Error) {
	var err *Error
	if c.fault.FailEntry != nil {
		err = c.fault.FailEntry(e)
	}
	if err == nil {
		err = f()
	}
	if err != nil {
		if err.entry != nil {
			err = err.entry
		}
		o.failed = append(o.failed, batchFailure{e.ID, err})
		return
	}
	o.successful = append(o.successful, batchSuccess{id: e.ID})
}

func (o *batchOutput) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	if len(o.successful) > 0 {
		dst = append(appendName(dst, "Successful"), '[')
		for i, e := range o.successful {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendField(append(dst, '{'), "Id", e.id)
			if e.sent.content != nil {
				dst = e.sent.appendFields(dst)
			}
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	if len(o.failed) > 0 {
		dst = append(appendName(dst, "Failed"), '[')
		for i, e := range o.failed {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendField(append(dst, '{'), "Id", e.id)
			dst = appendField(dst, "Code", e.err.queryCode())
			dst = appendField(dst, "Message", e.err.Message)
			dst = appendName(dst, "SenderFault")
			if e.err.Receiver {
				dst = append(dst, "false}"...)
			} else {
				dst = append(dst, "true}"...)
			}
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

type sendMessageBatchInput struct {
	queueRef
	Entries []struct {
		Id string
		outgoing
	}
}

func (s *Server) sendMessageBatch(c *call, in *sendMessageBatchInput) (*batchOutput, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nil, err
	}
	ids, size := make([]string, len(in.Entries)), 0
	for i := range in.Entries {
		ids[i] = in.Entries[i].Id
		size += in.Entries[i].size()
	}
	if err := batchFault("SendMessageBatch", ids); err != nil {
		return nil, err
	}
	if size > maxBatchSize {
		return nil, errSimpleQueueService("BatchRequestTooLong", "Batch requests cannot be longer than %d bytes. You have sent %d bytes.", maxBatchSize, size)
	}
	set, now := q.settings(), s.clock.Now()
	if err := in.fifoFault(set); err != nil {
		return nil, err
	}
	out := new(batchOutput)
	var arrivals []arrival
	for i := range in.Entries {
		e := &in.Entries[i]
		out.run(c, Entry{e.Id, e.MessageBody}, func() *Error {
			a, err := s.message(&e.outgoing, set, now)
			if err == nil {
				arrivals = append(arrivals, a)
			}
			return err
		})
	}
	if !q.add(arrivals...) {
		return nil, errQueueDoesNotExist()
	}
	for i, a := range arrivals {
		out.successful[i].sent = sentMessage{a.sent, a.sequence}
	}
	return out, nil
}

type deleteMessageBatchInput struct {
	queueRef
	Entries []struct{ Id, ReceiptHandle string }
}

func (s *Server) deleteMessageBatch(c *call, in *deleteMessageBatchInput) (*batchOutput, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(in.Entries))
	for i, e := range in.Entries {
		ids[i] = e.Id
	}
	if err := batchFault("DeleteMessageBatch", ids); err != nil {
		return nil, err
	}
	out := new(batchOutput)
	for _, e := range in.Entries {
		out.run(c, Entry{ID: e.Id}, func() *Error { return q.deleteOne(e.ReceiptHandle) })
	}
	return out, nil
}

type changeMessageVisibilityBatchInput struct {
	queueRef
	Entries []struct {
		Id, ReceiptHandle string
		VisibilityTimeout *int
	}
}

func (s *Server) changeMessageVisibilityBatch(c *call, in *changeMessageVisibilityBatchInput) (*batchOutput, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(in.Entries))
	for i, e := range in.Entries {
		ids[i] = e.Id
	}
	if err := batchFault("ChangeMessageVisibilityBatch", ids); err != nil {
		return nil, err
	}
	out := new(batchOutput)
	for _, e := range in.Entries {
		if e.VisibilityTimeout == nil {
			e.VisibilityTimeout = new(int) // not required in a batch, and SDKs leave a zero out
		}
		out.run(c, Entry{ID: e.Id}, func() *Error { return q.changeOne(e.ReceiptHandle, e.VisibilityTimeout) })
	}
	return out, nil
}
