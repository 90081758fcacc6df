package redisstore

import "context"

// SHA is the name under which the server knows a script.
func (s *Store) SHA(script string) string { return (*s.scripts.byName()[script]).sha }

// MaxLines is how many calls go out by themselves.
const MaxLines = maxLines

// Waiting is how many calls wait for a line.
func (s *Store) Waiting() int {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return len(s.group.waiting)
}

// Lines is how many lines are out.
func (s *Store) Lines() int {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return s.group.lines
}

// GetLine is a call that gets a line when its context has ended.
func (s *Store) GetLine(ctx context.Context) error {
	g := s.group
	g.mu.Lock()
	g.lines = maxLines
	g.mu.Unlock()
	c := g.join(ctx, command(ctx, "ping", "", nil, nil))
	g.back()
	_, err := g.wait(c)
	return err
}

// HoldLines keeps all lines but one from going out.
func (s *Store) HoldLines() {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	s.group.lines += maxLines - 1
}
