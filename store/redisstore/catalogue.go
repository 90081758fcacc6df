package redisstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/store"
)

// letterCalls is how many scripts of one call are under way at once: a batch of
// letters is of as many buckets, mostly.
const letterCalls = 16

// PutLetters implements store.Catalogue. It runs a script for each bucket.
func (s *Store) PutLetters(ctx context.Context, queue string, letters []store.Letter) error {
	if err := store.CheckLetters(queue, letters); err != nil {
		return err
	}
	byBucket := make(map[int]*letterCall)
	for i := range letters {
		l := &letters[i]
		s.letterCall(byBucket, queue, l.ID, packSummary(&l.LetterSummary), l.Body)
	}
	return s.runLetters(ctx, s.scripts.putLetters, byBucket)
}

// DeleteLetters implements store.Catalogue. It runs a script for each bucket.
func (s *Store) DeleteLetters(ctx context.Context, queue string, ids []string) error {
	if err := store.CheckLetterIDs(queue, ids); err != nil {
		return err
	}
	byBucket := make(map[int]*letterCall)
	for _, id := range ids {
		s.letterCall(byBucket, queue, id)
	}
	return s.runLetters(ctx, s.scripts.deleteLetters, byBucket)
}

// A letterCall is what a script is to be told of the letters of one bucket.
type letterCall struct {
	keys []string
	args []any
}

// letterCall adds a letter to the call for its bucket.
func (s *Store) letterCall(byBucket map[int]*letterCall, queue, id string, more ...any) {
	bucket := letterBucket(queue, id)
	k := s.keys.letters(queue, bucket)
	c := byBucket[bucket]
	if c == nil {
		c = &letterCall{keys: []string{k.summaries(), k.queues()}, args: []any{queue}}
		byBucket[bucket] = c
	}
	c.keys = append(c.keys, k.letter(id))
	c.args = append(append(c.args, id), more...)
}

// runLetters runs a script for each bucket.
func (s *Store) runLetters(ctx context.Context, sc *script, byBucket map[int]*letterCall) error {
	calls, ctx := errgroup.WithContext(ctx)
	calls.SetLimit(letterCalls)
	for _, bucket := range slices.Sorted(maps.Keys(byBucket)) {
		c := byBucket[bucket]
		calls.Go(func() error {
			_, err := s.ask(ctx, sc, c.keys, c.args...)
			return err
		})
	}
	return calls.Wait()
}

// GetLetter implements store.Catalogue.
func (s *Store) GetLetter(ctx context.Context, queue, id string) (store.Letter, error) {
	if err := store.CheckLetter(queue, id); err != nil {
		return store.Letter{}, err
	}
	letters, err := s.readLetters(ctx, queue, []string{id})
	switch {
	case err != nil:
		return store.Letter{}, fmt.Errorf("redisstore: get letter %q: %w", id, err)
	case len(letters) == 0:
		if err := s.checkLost(ctx, queue, id); err != nil {
			return store.Letter{}, err
		}
		return store.Letter{}, fmt.Errorf("letter %q of %q: %w", id, queue, store.ErrNotFound)
	}
	return letters[0], nil
}

// readLetters reads those of the letters that are there.
func (s *Store) readLetters(ctx context.Context, queue string, ids []string) ([]store.Letter, error) {
	cmds := make([]*redis.SliceCmd, len(ids))
	err := s.pipelined(ctx, func(p redis.Pipeliner) {
		for i, id := range ids {
			// Not GET, for which a letter that was deleted is an error.
			cmds[i] = p.MGet(ctx, s.keys.letters(queue, letterBucket(queue, id)).letter(id))
		}
	})
	if err != nil {
		return nil, err
	}
	var letters []store.Letter
	for i, cmd := range cmds {
		a := answer(cmd.Val())
		if text := a.str(0); text != "" {
			length, rest, _ := strings.Cut(text, ":")
			n, _ := strconv.Atoi(length)
			n = min(max(n, 0), len(rest))
			letters = append(letters, store.Letter{LetterSummary: unpackSummary(ids[i], rest[:n]), Body: []byte(rest[n:])})
		}
	}
	return letters, nil
}

// ListLetters implements store.Catalogue.
func (s *Store) ListLetters(ctx context.Context, queue, position string, limit int) ([]store.Letter, string, error) {
	members, next, err := s.letterPage(ctx, queue, position, min(limit, store.MaxLetters))
	if err != nil || len(members) == 0 {
		return nil, next, err
	}
	ids := make([]string, len(members))
	lengths := make([]*redis.IntCmd, len(members))
	err = s.pipelined(ctx, func(p redis.Pipeliner) {
		for i, m := range members {
			ids[i], _, _ = strings.Cut(m, "\x00")
			lengths[i] = p.StrLen(ctx, s.keys.letters(queue, letterBucket(queue, ids[i])).letter(ids[i]))
		}
	})
	if err != nil {
		return nil, "", fmt.Errorf("redisstore: list letters of %q: %w", queue, err)
	}
	size := int64(0)
	for i, n := range lengths {
		if size += n.Val(); size > store.MaxLetterPage && i > 0 {
			last := ids[i-1]
			ids, next = ids[:i], store.NextLetterPosition(letterBucket(queue, last), last)
			break
		}
	}
	letters, err := s.readLetters(ctx, queue, ids)
	if err != nil {
		return nil, "", fmt.Errorf("redisstore: list letters of %q: %w", queue, err)
	}
	if len(letters) < len(ids) {
		there := make(map[string]bool, len(letters))
		for i := range letters {
			there[letters[i].ID] = true
		}
		for _, id := range ids {
			if there[id] {
				continue
			}
			if err := s.checkLost(ctx, queue, id); err != nil {
				return nil, "", err
			}
		}
	}
	return letters, next, nil
}

// checkLost returns an error if a letter is in its bucket, and its body is gone:
// nothing that the store does leaves that.
func (s *Store) checkLost(ctx context.Context, queue, id string) error {
	k := s.keys.letters(queue, letterBucket(queue, id))
	var listed, body *redis.IntCmd
	err := s.retry(ctx, func(ctx context.Context) error {
		_, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error { // both at one moment
			listed, body = p.ZLexCount(ctx, k.summaries(), "["+id+"\x00", "("+id+"\x01"), p.Exists(ctx, k.letter(id))
			return nil
		})
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("redisstore: letter %q of %q: %w", id, queue, err)
	case listed.Val() > 0 && body.Val() == 0:
		return fmt.Errorf("redisstore: letter %q of %q is lost: Redis has evicted or lost its key %s, or somebody has deleted it", id, queue, k.letter(id))
	}
	return nil
}

// ListSummaries implements store.Catalogue.
func (s *Store) ListSummaries(ctx context.Context, queue, position string, limit int) ([]store.LetterSummary, string, error) {
	members, next, err := s.letterPage(ctx, queue, position, min(limit, store.MaxSummaryPage))
	if err != nil || len(members) == 0 {
		return nil, next, err
	}
	summaries := make([]store.LetterSummary, len(members))
	for i, m := range members {
		id, summary, _ := strings.Cut(m, "\x00")
		summaries[i] = unpackSummary(id, summary)
	}
	return summaries, next, nil
}

// letterPage returns ids and summaries as the buckets have them: those of one
// bucket in the order of their ids, and the buckets one after the other.
func (s *Store) letterPage(ctx context.Context, queue, position string, limit int) (members []string, next string, err error) {
	first, after, err := store.LetterPosition(position)
	if err != nil {
		return nil, "", err
	}
	if err := store.CheckID("queue", queue); err != nil || limit < 1 {
		return nil, "", err
	}
	counts, err := s.letterCounts(ctx, queue, first)
	if err != nil {
		return nil, "", fmt.Errorf("redisstore: list letters of %q: %w", queue, err)
	}
	// As many buckets as fill the page, by what they held just now: of the first
	// one a part may be on earlier pages.
	var buckets []int
	for i, have := 0, int64(0); i < len(counts) && have < int64(limit); i++ {
		if counts[i] > 0 {
			buckets = append(buckets, first+i)
			if i > 0 || after == "" {
				have += counts[i]
			}
		}
	}
	cmds := make([]*redis.StringSliceCmd, len(buckets))
	err = s.pipelined(ctx, func(p redis.Pipeliner) {
		for i, bucket := range buckets {
			from := "-"
			if bucket == first && after != "" {
				from = "[" + after + "\x01"
			}
			cmds[i] = p.ZRangeByLex(ctx, s.keys.letters(queue, bucket).summaries(), &redis.ZRangeBy{Min: from, Max: "+", Count: int64(limit)})
		}
	})
	if err != nil {
		return nil, "", fmt.Errorf("redisstore: list letters of %q: %w", queue, err)
	}
	for i, cmd := range cmds {
		found := cmd.Val()
		room := limit - len(members)
		if members = append(members, found[:min(room, len(found))]...); len(found) >= room {
			id, _, _ := strings.Cut(members[len(members)-1], "\x00")
			return members, store.NextLetterPosition(buckets[i], id), nil
		}
	}
	// Some were deleted meanwhile, or there are no more.
	if len(buckets) == 0 {
		return members, "", nil
	}
	last := buckets[len(buckets)-1]
	if !slices.ContainsFunc(counts[last-first+1:], func(n int64) bool { return n > 0 }) {
		return members, "", nil
	}
	return members, store.NextLetterPosition(last+1, ""), nil
}

// letterCounts returns how many letters the buckets of a queue have, from the
// first on.
func (s *Store) letterCounts(ctx context.Context, queue string, first int) ([]int64, error) {
	cmds := make([]*redis.IntCmd, store.LetterBuckets-first)
	err := s.pipelined(ctx, func(p redis.Pipeliner) {
		for i := range cmds {
			cmds[i] = p.ZCard(ctx, s.keys.letters(queue, first+i).summaries())
		}
	})
	counts := make([]int64, len(cmds))
	for i, cmd := range cmds {
		counts[i] = cmd.Val()
	}
	return counts, err
}

// CountLetters implements store.Catalogue.
func (s *Store) CountLetters(ctx context.Context, queue string) (int64, error) {
	if err := store.CheckID("queue", queue); err != nil {
		return 0, err
	}
	first := s.keys.partition(queue)
	cmds := make([]*redis.SliceCmd, min(s.keys.partitions, store.LetterBuckets))
	err := s.pipelined(ctx, func(p redis.Pipeliner) {
		for i := range cmds {
			// Not HGET, for which a partition without any is an error.
			cmds[i] = p.HMGet(ctx, letterKeys{prefix: s.keys.prefix((first + i) % s.keys.partitions)}.queues(), queue)
		}
	})
	if err != nil {
		return 0, fmt.Errorf("redisstore: count letters of %q: %w", queue, err)
	}
	sum := int64(0)
	for _, cmd := range cmds {
		sum += number(answer(cmd.Val()).str(0))
	}
	return sum, nil
}

// LetterQueues implements store.Catalogue.
func (s *Store) LetterQueues(ctx context.Context) ([]string, error) {
	cmds := make([]*redis.StringSliceCmd, s.keys.partitions)
	err := s.pipelined(ctx, func(p redis.Pipeliner) {
		for i := range cmds {
			cmds[i] = p.HKeys(ctx, letterKeys{prefix: s.keys.prefix(i)}.queues())
		}
	})
	if err != nil {
		return nil, fmt.Errorf("redisstore: list the queues of letters: %w", err)
	}
	var all []string
	for _, cmd := range cmds {
		all = append(all, cmd.Val()...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// packSummary writes a summary but for its id, as items are written.
func packSummary(l *store.LetterSummary) string {
	return packItems([]string{l.Name, l.Reason, l.Filter, l.Type, l.Frame, l.Source, l.Attributes, l.Shape, summaryTime(l.FirstFailedAt), summaryTime(l.FailedAt)})
}

func summaryTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func unpackSummary(id, text string) store.LetterSummary {
	l := store.LetterSummary{ID: id}
	var first, last string
	for _, field := range []*string{&l.Name, &l.Reason, &l.Filter, &l.Type, &l.Frame, &l.Source, &l.Attributes, &l.Shape, &first, &last} {
		length, rest, _ := strings.Cut(text, ":")
		n, _ := strconv.Atoi(length)
		n = min(max(n, 0), len(rest))
		*field, text = rest[:n], rest[n:]
	}
	l.FirstFailedAt, l.FailedAt = readSummaryTime(first), readSummaryTime(last)
	return l
}

// readSummaryTime reads a time, of which any number is one: 1970 as well.
func readSummaryTime(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	return time.UnixMilli(number(text))
}
