package storetest

import (
	"context"

	"github.com/waybill-dev/waybill/store"
)

// PutLetters implements store.Catalogue.
func (f *Faulty) PutLetters(ctx context.Context, queue string, letters []store.Letter) error {
	return f.done(ctx, "PutLetters", queue, func() error { return f.store.PutLetters(ctx, queue, letters) })
}

// GetLetter implements store.Catalogue.
func (f *Faulty) GetLetter(ctx context.Context, queue, id string) (store.Letter, error) {
	return do(ctx, f, "GetLetter", queue, func() (store.Letter, error) { return f.store.GetLetter(ctx, queue, id) })
}

// ListLetters implements store.Catalogue.
func (f *Faulty) ListLetters(ctx context.Context, queue, position string, limit int) (letters []store.Letter, next string, err error) {
	letters, err = do(ctx, f, "ListLetters", queue, func() (list []store.Letter, err error) {
		list, next, err = f.store.ListLetters(ctx, queue, position, limit)
		return list, err
	})
	if err != nil {
		next = ""
	}
	return letters, next, err
}

// ListSummaries implements store.Catalogue.
func (f *Faulty) ListSummaries(ctx context.Context, queue, position string, limit int) (summaries []store.LetterSummary, next string, err error) {
	summaries, err = do(ctx, f, "ListSummaries", queue, func() (list []store.LetterSummary, err error) {
		list, next, err = f.store.ListSummaries(ctx, queue, position, limit)
		return list, err
	})
	if err != nil {
		next = ""
	}
	return summaries, next, err
}

// DeleteLetters implements store.Catalogue.
func (f *Faulty) DeleteLetters(ctx context.Context, queue string, ids []string) error {
	return f.done(ctx, "DeleteLetters", queue, func() error { return f.store.DeleteLetters(ctx, queue, ids) })
}

// CountLetters implements store.Catalogue.
func (f *Faulty) CountLetters(ctx context.Context, queue string) (int64, error) {
	return do(ctx, f, "CountLetters", queue, func() (int64, error) { return f.store.CountLetters(ctx, queue) })
}

// LetterQueues implements store.Catalogue.
func (f *Faulty) LetterQueues(ctx context.Context) ([]string, error) {
	return do(ctx, f, "LetterQueues", "", func() ([]string, error) { return f.store.LetterQueues(ctx) })
}
