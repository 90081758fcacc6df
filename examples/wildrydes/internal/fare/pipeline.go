package fare

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/register"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
)

// attemptsInPlace is how often a filter runs in one receive of a message.
const attemptsInPlace = 3

// Retry is the policy of the pipeline's filters.
func Retry() pipeline.Retry {
	return pipeline.Retry{
		Attempts:   attemptsInPlace,
		Interval:   firstPause,
		Multiplier: 2,
		MaxElapsed: 10 * time.Second,
		// Three times at once, then after a second: SQS counts whole ones.
		Redelivery: func(receiveCount int) time.Duration { return time.Duration(receiveCount/4) * time.Second },
	}
}

// failed is the outlet of fares that go back.
const failed = "failed"

// Handle adds fare processing to a pipeline:
//
//	rides -> RegisterFare -> fares-registered -> ProcessPayment -> fares-charged
//	  -> UpdateCustomerAccount -> fares-credited -> PublishFareProcessed -> fare-results
//
// and the way back of what fails once money may have moved:
//
//	ProcessPayment                                  -> refunds -> RefundPayment -> fare-results
//	UpdateCustomerAccount -> debits -> DebitCustomer -> refunds ...
//
// Before that, a dead letter is all that a failure needs; and a fare that is
// completed only goes forward.
func Handle(p *pipeline.Pipeline, s *Services) {
	attempt := pipeline.Timeout(attemptTimeout)
	p.Handle("RegisterFare", forward(s.RegisterFare), attempt,
		pipeline.From(Rides), pipeline.To("fares-registered"))
	p.Handle("ProcessPayment", s.orBack(s.ProcessPayment), attempt,
		pipeline.From("fares-registered"), pipeline.To("fares-charged"), pipeline.Outlet(failed, "refunds"))
	p.Handle("UpdateCustomerAccount", s.orBack(s.CreditCustomer), attempt,
		pipeline.From("fares-charged"), pipeline.To("fares-credited"), pipeline.Outlet(failed, "debits"))
	p.Handle("PublishFareProcessed", pipeline.Messages(s.announce), attempt,
		pipeline.From("fares-credited"), pipeline.To(Results))

	p.Handle("DebitCustomer", forward(s.DebitCustomer), attempt,
		pipeline.From("debits"), pipeline.To("refunds"))
	p.Handle("RefundPayment", pipeline.Messages(func(ctx context.Context, in pipeline.Msg[Fare]) ([]pipeline.Msg[Notice], error) {
		if err := s.RefundPayment(ctx, &in.Body); err != nil {
			return nil, err
		}
		return []pipeline.Msg[Notice]{in.Body.Failed(in.Body.Cause).message()}, nil
	}), attempt, pipeline.From("refunds"), pipeline.To(Results))
}

// forward is the filter of a handler whose failures are dead letters.
func forward(do func(context.Context, *Fare) error) pipeline.Handler {
	return pipeline.Func(func(ctx context.Context, f Fare) (Fare, error) {
		err := do(ctx, &f)
		return f, err
	})
}

// orBack is the filter of a handler whose failures send the fare back: at once
// where a retry would not help, or else when the tries are used up.
func (s *Services) orBack(do func(context.Context, *Fare) error) pipeline.Handler {
	return pipeline.Messages(func(ctx context.Context, in pipeline.Msg[Fare]) ([]pipeline.Msg[Fare], error) {
		f := in.Body
		err := do(ctx, &f)
		switch {
		case err == nil:
			return []pipeline.Msg[Fare]{{Body: f}}, nil
		case !pipeline.IsPermanent(err) && !lastTry(ctx):
			return nil, err
		}
		return s.turnBack(ctx, in.Body, err)
	})
}

// turnBack sends a fare back. The register decides whether it may: a copy of
// the message may have completed the fare, and another may have sent it back
// before.
func (s *Services) turnBack(ctx context.Context, f Fare, cause error) ([]pipeline.Msg[Fare], error) {
	// The attempt may have failed because its time ran out.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	f.Cause = pipeline.FromContext(ctx).Filter + " failed: " + cause.Error()
	switch err := s.CancelFare(ctx, &f, f.Cause); {
	case refusedWith(err, register.CodeCompleted):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []pipeline.Msg[Fare]{{Body: f, Outlet: failed}}, nil
}

// lastTry reports whether the message will not be handled again if this try
// fails.
func lastTry(ctx context.Context) bool {
	return queue.FromContext(ctx).Last() && pipeline.FromContext(ctx).Attempt >= attemptsInPlace
}

// announce completes the fare and tells the world. A fare that went back
// meanwhile is the business of those on the way back.
func (s *Services) announce(ctx context.Context, in pipeline.Msg[Fare]) ([]pipeline.Msg[Notice], error) {
	switch err := s.CompleteFare(ctx, &in.Body); {
	case refusedWith(err, register.CodeCancelled):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []pipeline.Msg[Notice]{in.Body.Succeeded().message()}, nil
}

// message is the pipeline's message of a notice.
func (n Notice) message() pipeline.Msg[Notice] {
	return pipeline.Msg[Notice]{Body: n, Metadata: message.Metadata{
		AttrIsSuccessful: n.Attribute(),
		queue.KeySubject: n.Subject(),
	}}
}
