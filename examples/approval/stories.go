package main

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// stories keep what happens to each claim apart, so that all can be under way at
// once and be told one after the other.
type stories struct {
	mu    sync.Mutex
	lines map[string][]string
	ended map[string]bool
	news  chan struct{} // closed when there is more to tell
}

func newStories() *stories {
	return &stories{lines: map[string][]string{}, ended: map[string]bool{}, news: make(chan struct{})}
}

// tell adds a line to a claim's story, and end ends it.
func (s *stories) tell(claim, line string) {
	s.change(func() { s.lines[claim] = append(s.lines[claim], line) })
}

func (s *stories) end(claim string) { s.change(func() { s.ended[claim] = true }) }

func (s *stories) change(how func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how()
	close(s.news)
	s.news = make(chan struct{})
}

// follow writes a claim's story as it goes on, until its end.
func (s *stories) follow(ctx context.Context, claim string, w io.Writer) error {
	for told := 0; ; {
		s.mu.Lock()
		lines, ended, news := s.lines[claim][told:], s.ended[claim], s.news
		s.mu.Unlock()
		for _, line := range lines {
			if _, err := fmt.Fprintln(w, "   "+line); err != nil {
				return err
			}
		}
		told += len(lines)
		if ended {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
