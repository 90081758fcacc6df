package emulator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxRecord bounds a record of a saved server: the largest is a message of 1 MiB, which escapes may swell sixfold.
const maxRecord = 8 << 20

// Save writes all that the server has: its queues and topics with their messages and subscriptions, receipt
// handles that stay good, and what FIFO queues and topics remember for deduplication. Requests go on meanwhile;
// of one that changes several queues, such as a publication, some may be written as before it and some as after.
// Move tasks and receive attempts are not saved.
func (s *Server) Save(w io.Writer) error {
	out := bufio.NewWriter(w)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	n := 0
	for _, r := range s.records() {
		if err := e.Encode(r); err != nil {
			return fmt.Errorf("emulator: save: %w", err)
		}
		n++
	}
	if err := e.Encode(record{End: &savedEnd{n}}); err != nil {
		return fmt.Errorf("emulator: save: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("emulator: save: %w", err)
	}
	return nil
}

// records returns all that is to be saved. No message is on its way between two queues meanwhile.
func (s *Server) records() []record {
	out := []record{{Header: &savedHeader{savedFormat, savedVersion, s.account}}}
	s.making.Lock()
	defer s.making.Unlock()
	var queues []*queue
	s.queues.Range(func(_, v any) bool {
		queues = append(queues, v.(*queue))
		return true
	})
	slices.SortFunc(queues, func(a, b *queue) int { return strings.Compare(a.arn, b.arn) })
	for _, q := range queues {
		q.burying.Lock()
		defer q.burying.Unlock()
	}
	for _, q := range queues {
		out = append(out, q.save()...)
	}
	var topics []*topic
	s.topics.Range(func(_, v any) bool {
		topics = append(topics, v.(*topic))
		return true
	})
	slices.SortFunc(topics, func(a, b *topic) int { return strings.Compare(a.key.arn(), b.key.arn()) })
	now := s.clock.Now()
	for _, t := range topics {
		out = append(out, t.save(now)...)
	}
	s.deleted.Range(func(k, v any) bool {
		if at := v.(time.Time); now.Sub(at) < cooldown {
			key := k.(queueKey)
			out = append(out, record{Deleted: &savedDeletion{key.region, key.name, nanos(at)}})
		}
		return true
	})
	return out
}

// Restore reads what [Server.Save] wrote. The server must have no queues and topics yet, and the functions that
// subscriptions name. After an error the server has a part of it, and is of no use.
func (s *Server) Restore(r io.Reader) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxRecord)
	restoring := restoring{server: s}
	for in.Scan() {
		if restoring.ended {
			return savedError(restoring.n+1, "it comes after the end")
		}
		var r record
		err := json.Unmarshal(in.Bytes(), &r)
		if err != nil && restoring.n == 0 {
			err = fmt.Errorf("this is no saved server: %w", err)
		}
		if err == nil {
			err = restoring.take(r)
		}
		if err != nil {
			return savedError(restoring.n+1, "%w", err)
		}
		restoring.n++
	}
	if err := in.Err(); err != nil {
		return savedError(restoring.n+1, "%w", err)
	}
	if !restoring.ended {
		return savedError(restoring.n+1, "the end is missing: it was not saved as a whole")
	}
	return nil
}

// restoring is a restoration under way.
type restoring struct {
	server   *Server
	n        int // records
	ended    bool
	queue    *queue // the latest
	messages []*savedMessage
	topic    *topic // the latest
}

func (x *restoring) take(r record) error {
	if (x.n == 0) != (r.Header != nil) {
		return errors.New("a saved server starts with its header, and has one")
	}
	if r.Message == nil && x.messages != nil {
		err := x.queue.restore(x.messages)
		x.messages = nil
		if err != nil {
			return err
		}
	}
	var err error
	switch {
	case r.Header != nil:
		return x.begin(r.Header)
	case r.Queue != nil:
		x.queue, err = x.server.restoreQueue(r.Queue)
	case r.Message != nil && x.queue != nil && x.topic == nil:
		x.messages = append(x.messages, r.Message)
	case r.Dedup != nil && x.topic != nil && x.topic.fifo != nil:
		x.topic.fifo.dedup.restore(r.Dedup, x.topic.attribute("FifoThroughputScope") == "MessageGroup")
	case r.Dedup != nil && x.topic == nil && x.queue != nil && x.queue.fifo != nil:
		x.queue.fifo.dedup.restore(r.Dedup, x.queue.set.dedupByGroup)
	case r.Topic != nil:
		x.topic, err = x.server.restoreTopic(r.Topic)
	case r.Subscription != nil && x.topic != nil:
		err = x.server.restoreSubscription(x.topic, r.Subscription)
	case r.Deleted != nil:
		x.server.deleted.Store(queueKey{r.Deleted.Region, r.Deleted.Name}, fromNanos(r.Deleted.At))
	case r.End != nil && r.End.Records == x.n:
		x.ended = true
	case r.End != nil:
		return fmt.Errorf("there are %d records, and the end speaks of %d", x.n, r.End.Records)
	default:
		return errors.New("it is of an unknown kind, or not where it belongs")
	}
	return err
}

func (x *restoring) begin(h *savedHeader) error {
	switch {
	case h.Format != savedFormat:
		return fmt.Errorf("the format is %q, want %q", h.Format, savedFormat)
	case h.Version != savedVersion:
		return fmt.Errorf("the version is %d, and this release reads %d", h.Version, savedVersion)
	case h.Account != x.server.account:
		return fmt.Errorf("it is of account %s, and the server of %s", h.Account, x.server.account)
	case x.server.inUse():
		return errors.New("the server has queues or topics already")
	}
	return nil
}

func (s *Server) inUse() bool {
	used := false
	use := func(any, any) bool {
		used = true
		return false
	}
	s.queues.Range(use)
	s.topics.Range(use)
	return used
}

// RestoreFile restores the server from a file, if there is one.
func (s *Server) RestoreFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	if err := errors.Join(s.Restore(f), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// SaveFile saves the server to a file, which it replaces as a whole or not at all.
func (s *Server) SaveFile(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	err = errors.Join(s.Save(f), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("emulator: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// KeepFile saves the server to a file until ctx ends: at every interval in which something changed, and once more
// at the end. A file that could not be saved is tried again at the next interval; KeepFile returns an error only
// if the last try failed. What a process that is killed has not saved is lost. One process keeps a file at a time.
func (s *Server) KeepFile(ctx context.Context, path string, interval time.Duration) error {
	removeHalves(path)
	saved := int64(-1)
	for {
		wait, cancel := context.WithCancel(ctx)
		stop := s.clock.AfterFunc(interval, cancel)
		<-wait.Done()
		stop()
		cancel()
		n := s.changes.Load()
		var err error
		if n != saved || ctx.Err() != nil {
			if err = s.SaveFile(path); err == nil {
				saved = n
			} else if ctx.Err() == nil {
				s.log.Warn("cannot save; trying again", "file", path, "error", err)
			}
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

// removeHalves removes what SaveFile had written for a file when its process was killed.
func removeHalves(path string) {
	entries, _ := os.ReadDir(filepath.Dir(path)) // what cannot be read stays
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "."+filepath.Base(path)+".")
		if ok && number != "" && strings.Trim(number, "0123456789") == "" {
			_ = os.Remove(filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
}

// changed notes that something was done to what is saved.
func (s *Server) changed() { s.changes.Add(1) }

// noteChange does so after an operation, unless that is one that only looks.
func (s *Server) noteChange(operation string, out any) {
	received, ok := out.(*receivedMessages)
	if strings.HasPrefix(operation, "Get") || strings.HasPrefix(operation, "List") || ok && received != nil && len(received.messages) == 0 {
		return
	}
	s.changed()
}
