package redisstore_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A stored key as it is in Redis: one of its values is set.
type stored struct {
	Key  string            `json:"key"`
	Hash map[string]string `json:"hash,omitempty"`
	List []string          `json:"list,omitempty"`
	Zset []member          `json:"zset,omitempty"`
	Text string            `json:"text,omitempty"`

	expires time.Duration // 0 is never
}

// A member of a sorted set.
type member struct {
	Name  string  `json:"name"`
	Score float64 `json:"score"`
}

// dump reads all keys of the namespace, in order.
func dump(t testing.TB, tg target) []stored {
	t.Helper()
	ctx := context.Background()
	var all []stored
	iter := tg.client.Scan(ctx, 0, tg.namespace+":*", 1000).Iterator()
	for iter.Next(ctx) {
		s, err := load(ctx, tg.client, iter.Val())
		if err != nil {
			t.Fatalf("read %q: %v", iter.Val(), err)
		}
		all = append(all, s)
	}
	if err := iter.Err(); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b stored) int { return cmp.Compare(a.Key, b.Key) })
	return slices.CompactFunc(all, func(a, b stored) bool { return a.Key == b.Key })
}

func load(ctx context.Context, c *redis.Client, key string) (s stored, err error) {
	s.Key = key
	kind, err := c.Type(ctx, key).Result()
	if err != nil {
		return s, err
	}
	ttl, err := c.PTTL(ctx, key).Result()
	if err != nil {
		return s, err
	}
	s.expires = max(ttl, 0)
	switch kind {
	case "hash":
		s.Hash, err = c.HGetAll(ctx, key).Result()
	case "list":
		s.List, err = c.LRange(ctx, key, 0, -1).Result()
	case "zset":
		var zs []redis.Z
		zs, err = c.ZRangeWithScores(ctx, key, 0, -1).Result()
		for _, z := range zs {
			s.Zset = append(s.Zset, member{z.Member.(string), z.Score})
		}
	case "string":
		s.Text, err = c.Get(ctx, key).Result()
	default:
		err = fmt.Errorf("it holds a %s", kind)
	}
	return s, err
}

// restore writes keys as they were dumped.
func restore(t testing.TB, c *redis.Client, all []stored) {
	t.Helper()
	ctx := context.Background()
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range all {
			for field, value := range s.Hash {
				p.HSet(ctx, s.Key, field, value)
			}
			for _, value := range s.List {
				p.RPush(ctx, s.Key, value)
			}
			for _, m := range s.Zset {
				p.ZAdd(ctx, s.Key, redis.Z{Member: m.Name, Score: m.Score})
			}
			if s.Text != "" {
				p.Set(ctx, s.Key, s.Text, 0)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// describe writes keys as text, one a line. Times are shown as hours from now,
// so that the text is the same on every clock, and the namespace is "test".
func describe(tg target, all []stored) string {
	var b strings.Builder
	for _, s := range all {
		key := "test" + strings.TrimPrefix(s.Key, tg.namespace)
		if s.expires > 0 {
			key += fmt.Sprintf(" (expires in %.0fh)", s.expires.Hours())
		}
		switch {
		case s.Hash != nil:
			var fields []string
			for name, value := range s.Hash {
				fields = append(fields, fmt.Sprintf("%s=%s", quote(name), tg.showText(value)))
			}
			slices.Sort(fields)
			fmt.Fprintf(&b, "%s hash %s\n", key, strings.Join(fields, " "))
		case s.List != nil:
			fmt.Fprintf(&b, "%s list %q\n", key, s.List)
		case s.Zset != nil:
			var members []string
			for _, m := range s.Zset {
				members = append(members, fmt.Sprintf("%s=%s", quote(m.Name), tg.showNumber(m.Score)))
			}
			fmt.Fprintf(&b, "%s zset %s\n", key, strings.Join(members, " "))
		default:
			fmt.Fprintf(&b, "%s string %s\n", key, tg.showText(s.Text))
		}
	}
	return b.String()
}

// quote quotes what is not one plain word.
func quote(s string) string {
	if q := strconv.Quote(s); s == "" || strings.Contains(s, " ") || q != `"`+s+`"` {
		return q
	}
	return s
}

// showText shows the times in a text as such: a number alone, or several, or one
// among words, as in a use of a lock.
func (tg target) showText(s string) string {
	parts := strings.Split(s, " ")
	for i, part := range parts {
		if n, err := strconv.ParseFloat(part, 64); err == nil && n > 1e12 {
			parts[i] = tg.showNumber(n)
		}
	}
	if len(parts) == 1 && parts[0] != s {
		return parts[0]
	}
	return quote(strings.Join(parts, " "))
}

func (tg target) showNumber(n float64) string {
	if n < 1e12 || n != math.Trunc(n) {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	if n > 1e15 { // a fence begins with the time in microseconds
		return tg.showNumber(math.Floor(n/1000)) + "*"
	}
	hours := int(time.UnixMilli(int64(n)).Sub(tg.now()).Round(time.Hour).Hours())
	if hours == 0 {
		return "now"
	}
	return fmt.Sprintf("now%+dh", hours)
}
