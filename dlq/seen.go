package dlq

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// A Growth is how a queue has grown since it was seen last.
type Growth struct {
	// Messages is how many more messages it holds, in flight and delayed ones among
	// them, or fewer if negative. Before is how many it held, and Since when.
	Messages int       `json:"messages"`
	Before   int       `json:"before"`
	Since    time.Time `json:"since"`
}

// Seen is a file that keeps what queues held when they were seen last. It needs no
// store. Processes may use one at once: each replaces it as a whole, and the last
// one counts.
type Seen struct{ path string }

// NewSeen returns what is kept in a file, which need not be there, nor its directory.
func NewSeen(path string) Seen { return Seen{path} }

// SeenPath returns where a user's file is: waybill/dlq-seen.json in the directory
// that XDG_STATE_HOME names, or in .local/state of the user's own.
func SeenPath() (string, error) {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) { // as the specification wants it
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("dlq: %w", err)
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "waybill", "dlq-seen.json"), nil
}

// seenFor is for how long a queue that is not seen any more is remembered.
const seenFor = 90 * 24 * time.Hour

type seenFile struct {
	Version int                  `json:"v"`
	Queues  map[string]seenQueue `json:"queues"`
}

type seenQueue struct {
	Messages int       `json:"messages"`
	At       time.Time `json:"at"`
}

// seenVersion is the version of the file that this package writes.
const seenVersion = 1

// Note sets Growth of queues that [Client.List] returned, where they were seen
// before, and keeps what they hold now, at a time. A queue is known by its account,
// region and URL. A file that is damaged is begun anew, and the error says so; one
// that cannot be read or written is an error, too, with Growth of what is known.
func (s Seen) Note(list []Queue, now time.Time) error {
	file, err := s.read()
	for i := range list {
		q := &list[i]
		if q.arn == "" { // it is missing, or could not be read
			continue
		}
		key, holds := q.arn+" "+q.URL, q.Messages+q.InFlight+q.Delayed
		if before, ok := file.Queues[key]; ok && !before.At.After(now) {
			q.Growth = &Growth{Messages: holds - before.Messages, Before: before.Messages, Since: before.At}
		}
		file.Queues[key] = seenQueue{holds, now}
	}
	maps.DeleteFunc(file.Queues, func(_ string, q seenQueue) bool { return now.Sub(q.At) > seenFor })
	return errors.Join(err, s.write(file))
}

func (s Seen) read() (seenFile, error) {
	empty := seenFile{seenVersion, map[string]seenQueue{}}
	text, err := os.ReadFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return empty, nil
	case err != nil:
		return empty, fmt.Errorf("dlq: what was seen before is not known: %w", err)
	}
	var file seenFile
	if err := json.Unmarshal(text, &file); err != nil || file.Version != seenVersion {
		return empty, fmt.Errorf("dlq: what was seen before is not known: %s is damaged, or of another release; it is begun anew", s.path)
	}
	if file.Queues == nil {
		file.Queues = empty.Queues
	}
	return file, nil
}

// write replaces the file as a whole.
func (s Seen) write(file seenFile) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("dlq: what was seen is not kept: %w", err)
		}
	}()
	text, err := json.Marshal(file)
	if err != nil {
		return err
	}
	dir := filepath.Dir(s.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(s.path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
