package memstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// PutLetters implements store.Catalogue.
func (s *Store) PutLetters(ctx context.Context, queue string, letters []store.Letter) error {
	if err := store.CheckLetters(queue, letters); err != nil {
		return err
	}
	if err := s.begin(ctx, "put letters of", queue); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.letters[queue] == nil && len(letters) > 0 {
		s.letters[queue] = make(map[string]store.Letter)
	}
	for _, l := range letters {
		if _, ok := s.letters[queue][l.ID]; ok {
			continue
		}
		l.Body = clone(l.Body)
		l.FirstFailedAt, l.FailedAt = wholeMillis(l.FirstFailedAt), wholeMillis(l.FailedAt)
		s.letters[queue][l.ID] = l
		delete(s.letterOrder, queue)
	}
	return nil
}

// wholeMillis is a time as other stores keep it.
func wholeMillis(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli())
}

// GetLetter implements store.Catalogue.
func (s *Store) GetLetter(ctx context.Context, queue, id string) (store.Letter, error) {
	if err := store.CheckLetter(queue, id); err != nil {
		return store.Letter{}, err
	}
	if err := s.begin(ctx, "get letter", id); err != nil {
		return store.Letter{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.letters[queue][id]
	if !ok {
		return store.Letter{}, fmt.Errorf("letter %q of %q: %w", id, queue, store.ErrNotFound)
	}
	l.Body = clone(l.Body)
	return l, nil
}

// ListLetters implements store.Catalogue.
func (s *Store) ListLetters(ctx context.Context, queue, position string, limit int) (letters []store.Letter, next string, err error) {
	size := 0
	next, err = s.eachLetter(ctx, queue, position, min(limit, store.MaxLetters), func(l store.Letter) bool {
		if size += len(l.Body); size > store.MaxLetterPage && len(letters) > 0 {
			return false
		}
		l.Body = clone(l.Body)
		letters = append(letters, l)
		return true
	})
	return letters, next, err
}

// ListSummaries implements store.Catalogue.
func (s *Store) ListSummaries(ctx context.Context, queue, position string, limit int) (summaries []store.LetterSummary, next string, err error) {
	next, err = s.eachLetter(ctx, queue, position, min(limit, store.MaxSummaryPage), func(l store.Letter) bool {
		if summaries == nil {
			summaries = make([]store.LetterSummary, 0, min(limit, store.MaxSummaryPage, len(s.letters[queue])))
		}
		summaries = append(summaries, l.LetterSummary)
		return true
	})
	return summaries, next, err
}

// eachLetter visits up to limit letters from a position on, in the order of their
// ids, until visit refuses one, and returns the position after the last one.
func (s *Store) eachLetter(ctx context.Context, queue, position string, limit int, visit func(store.Letter) bool) (next string, err error) {
	_, after, err := store.LetterPosition(position)
	if err != nil {
		return "", err
	}
	if err := store.CheckID("queue", queue); err != nil || limit < 1 {
		return "", err
	}
	if err := s.begin(ctx, "list letters of", queue); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	order, ok := s.letterOrder[queue]
	if !ok {
		order = slices.Sorted(maps.Keys(s.letters[queue]))
		s.letterOrder[queue] = order
	}
	first, found := slices.BinarySearch(order, after)
	if found {
		first++
	}
	for i := first; i < len(order); i++ {
		l, ok := s.letters[queue][order[i]]
		if !ok {
			continue // deleted since the order was made
		}
		if limit == 0 || !visit(l) {
			return store.NextLetterPosition(0, after), nil
		}
		after = l.ID
		limit--
	}
	return "", nil
}

// DeleteLetters implements store.Catalogue.
func (s *Store) DeleteLetters(ctx context.Context, queue string, ids []string) error {
	if err := store.CheckLetterIDs(queue, ids); err != nil {
		return err
	}
	if err := s.begin(ctx, "delete letters of", queue); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		delete(s.letters[queue], id)
	}
	if len(s.letters[queue]) == 0 {
		delete(s.letters, queue)
		delete(s.letterOrder, queue)
	}
	return nil
}

// CountLetters implements store.Catalogue.
func (s *Store) CountLetters(ctx context.Context, queue string) (int64, error) {
	if err := store.CheckID("queue", queue); err != nil {
		return 0, err
	}
	if err := s.begin(ctx, "count letters of", queue); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.letters[queue])), nil
}

// LetterQueues implements store.Catalogue.
func (s *Store) LetterQueues(ctx context.Context) ([]string, error) {
	if err := s.begin(ctx, "list the queues of", "letters"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.letters)), nil
}
