package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/dlq"
)

// The tests of this file are about which messages a job reaches, and which it
// leaves.

// What fails again while the job runs, and what fails first, stays: the job
// ends however fast the queue fills.
func TestRedriveDoesNotChase(t *testing.T) {
	for _, attributes := range []int{0, 10} { // with room for marks, and without
		t.Run(fmt.Sprintf("%d attributes", attributes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				s.queue("fares-dlq", "", 0)
				s.queue("fares", "fares-dlq", 1)
				const n = 40
				in := &sqs.SendMessageInput{QueueUrl: s.url("fares-dlq"), MessageBody: aws.String("x"), MessageAttributes: map[string]sqstypes.MessageAttributeValue{}}
				for i := range attributes {
					in.MessageAttributes[fmt.Sprint("a", i)] = sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("v")}
				}
				for range n {
					if _, err := s.sqs.SendMessage(t.Context(), in); err != nil {
						t.Fatal(err)
					}
				}
				// Ten are with somebody else, so the job has room to see others.
				if _, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: in.QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 3600}); err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				source := s.url("fares")
				var consumer sync.WaitGroup
				consumer.Go(func() {
					for ctx.Err() == nil { // every message fails at once, and SQS moves it
						s.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: source, MaxNumberOfMessages: 10, VisibilityTimeout: 1})
						time.Sleep(10 * time.Millisecond)
					}
				})
				report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Rate: 5, Workers: 1})
				stop()
				consumer.Wait()
				if err != nil {
					t.Fatal(err)
				}
				if report.Sent != n-10 || report.CameBack < 10 || report.CameBack > n-10 || report.Seen != n-10 || report.NotReached != 0 {
					t.Errorf("report %s", asJSON(t, report))
				}
			})
		})
	}
}

// Messages that come back do not take the place of those that were there: all
// of them are redriven.
func TestRedriveReachesAllInSpiteOfWhatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 5)
		for i := range 20 {
			s.bury("fares-dlq", fmt.Sprint("m", i), "{}", "fares")
		}
		// Ten are hidden for a moment, as by somebody who peeks.
		if _, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url("fares-dlq"), MaxNumberOfMessages: 10, VisibilityTimeout: 1}); err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Progress: func(r dlq.Report) {
			once.Do(func() { // the first ten fail again at once
				for range 10 {
					s.sendMarked("fares-dlq", r.ID)
				}
			})
		}})
		if err != nil || report.Sent != 20 || report.Seen != 20 || report.CameBack != 10 || report.Remaining != 10 {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
	})
}

// The job ends however much comes in, and says what it did not reach.
func TestRedriveSaysWhatItDidNotReach(t *testing.T) {
	for _, limit := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			s := embedded(t)
			s.queue("fares-dlq", "", 0)
			s.queue("fares", "fares-dlq", 5)
			for i := range 20 {
				s.bury("fares-dlq", fmt.Sprint("m", i), "{}", "fares")
			}
			// Nineteen come back only behind a flood of others.
			if _, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url("fares-dlq"), MaxNumberOfMessages: 10, VisibilityTimeout: 60}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url("fares-dlq"), MaxNumberOfMessages: 9, VisibilityTimeout: 60}); err != nil {
				t.Fatal(err)
			}
			flood := func(r dlq.Report) {
				for range 10 {
					s.sendMarked("fares-dlq", r.ID)
				}
			}
			report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Limit: limit, Progress: flood})
			var partial *dlq.PartialError
			switch {
			case limit > 0: // what was asked for is done
				if err != nil || report.Sent != 1 || report.NotReached != 0 {
					t.Errorf("limit %d: report %s, %v", limit, asJSON(t, report), err)
				}
			case !errors.As(err, &partial) || !strings.Contains(err.Error(), "19 messages were not reached, because 20 came in meanwhile"):
				t.Errorf("got %v, want a PartialError that tells what was not reached", err)
			case report.Seen != 1 || report.NotReached != 19 || report.CameBack != 20:
				t.Errorf("report %s", asJSON(t, report))
			}
		})
	}
}

func TestRedriveLeavesWhatIsNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		s.queue("b", "", 0)
		for range 20 {
			s.send("a", "old")
		}
		go func() {
			for range 30 {
				time.Sleep(time.Second)
				s.send("a", "new")
			}
		}()
		report, err := s.client().Redrive(t.Context(), dlq.Options{From: "a", To: "b", Rate: 1, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.take("b") {
			if f.body != "old" {
				t.Errorf("a message that came later was sent; report %s", asJSON(t, report))
			}
		}
		time.Sleep(time.Minute)
	})
}
