// Package saga runs sagas: steps that change things in several places, and
// that are undone in reverse order when one of them fails for good.
//
// # A saga
//
// A saga is a list of steps over a state, which is any type that survives JSON:
//
//	type Fare struct {
//		Customer, ChargeID string
//		Cents              int64
//	}
//
//	fare := saga.New("fare",
//		saga.Do("RegisterFare", register).Undo(cancelFare),
//		saga.Do("ProcessPayment", charge).Undo(refund).
//			Retry(saga.Exponential(200*time.Millisecond, 10*time.Second, 6)).
//			Timeout(10*time.Second),
//		saga.Do("UpdateCustomerAccount", credit).Undo(debit),
//		saga.Do("PublishFareProcessed", announce).Pivot(),
//	)
//
// An action is a func(context.Context, *Fare) error. It may change the state;
// the change counts once it returns nil. A compensation also gets an [Outcome].
//
// A coordinator runs the executions of its sagas. Any number of processes run
// one, on the same store:
//
//	c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{fare}})
//	...
//	go c.Run(ctx)
//	result, err := fare.Run(ctx, c.Client(), "ride-4711", Fare{Customer: "c-1", Cents: 2000})
//
// The id is the caller's: starting the same id with the same input again finds
// the execution that is there.
//
// # What is guaranteed
//
// A transition happens exactly once, as long as the store keeps what it
// acknowledged. An action or a compensation runs at least once: after a crash,
// a lost answer or a timeout it may run again. All runs of one action have one
// idempotency key, [StepInfo].Key; pass it on to whatever has the effect. No
// side effect is promised to happen exactly once, because nobody can.
//
// The compensation of a step is on record before its action begins, so no crash
// loses it. An action ends done, not done or unknown; done and unknown ones are
// compensated, strictly in the reverse order of their dispatch.
//
// A compensation is retried by its policy. When that gives up, the execution is
// [Blocked]: the earlier compensations are neither skipped nor forgotten. An
// operator mends what is broken and says [Client.Retry].
//
// After the [Step.Pivot] a saga only goes forward. Before it, every step but
// the last says how it is undone, or that there is nothing to undo; registering
// a saga that does not is an error.
//
// # What an error means
//
// An action that returns an error says that it has done nothing, and then it is not
// undone. Return an [Uncertain] error where that is not so, or not known: after the
// first of two effects, or after an answer such as HTTP's 502. Else what was done
// stays. [StatusError] does that for the status of an HTTP answer, and [NoEffect]
// says that nothing was done although the error looks otherwise.
//
// Some errors mean unknown by themselves, because an answer may have been lost behind
// them, wherever they are in the chain:
//
//   - the end of a context or of a deadline, whatever the action makes of it, and a
//     panic;
//   - a [net.Error], unless it is of a dial, which did not come through; io.EOF,
//     io.ErrUnexpectedEOF, io.ErrClosedPipe and net.ErrClosed; the errors ECONNRESET,
//     ECONNABORTED and EPIPE; driver.ErrBadConn; and what net/http says of a
//     connection that the server closed;
//   - the gRPC codes Canceled, Unknown, DeadlineExceeded, Internal, Unavailable and
//     DataLoss.
//
// Any other error is taken at its word: that of a library which hides what it lost
// behind a text of its own has to be marked. Where handlers only pass on what an SDK
// or a driver has returned, [Step.Classify], or [CoordinatorConfig].Classify for all
// steps, does so in one place.
//
// # More than a list
//
// Steps follow one another as they are listed, unless they say otherwise with
// [Step.Next] or [Step.End]. [Choose], [Wait], [Pass], [Succeed] and [Fail] are
// steps like others:
//
//	saga.New("trip",
//		saga.Do("Plan", plan).ReadOnly(),
//		saga.Parallel("Book",
//			saga.Branch("hotel", saga.Do("Hotel", bookHotel).Undo(cancelHotel)),
//			saga.Branch("flight", saga.Do("Flight", bookFlight).Undo(cancelFlight)),
//		).Merge(take).Catch("Elsewhere", "NoSeats"),
//		saga.Choose[Trip]("Dear").If("Approve", saga.Field("Cents").Greater(100_000)).Otherwise("Pay"),
//		...
//
// A [Parallel] runs branches side by side, each on a copy of the state, and a
// [ForEach] the same steps for each of some items. When one of them fails for
// good, the others begin nothing more, what is under way is awaited, and all
// that they did is undone, in reverse of the order in which it began.
//
// Up to 1,000 items run within the saga's execution. More, up to a million, are
// shared out in parts to executions of their own, which any coordinator may
// take: [Execution].Part tells them. An item that fails for good after the point of
// no return is blocked there: a retry of that execution tries that item again, and
// none that is done.
//
// A [Child] runs another saga, as an execution of its own, whose id is that of
// its parent with the place of the step. A child that has completed is held until
// its parent has ended: if the parent is undone, so is the child, in its place.
// One that has nothing to undo ends at once. Beside its own steps a child takes
// seven calls to the store, or four if it has nothing to undo.
//
// [Step.Catch] goes on elsewhere after an error, by its name (see [Named]).
// Whatever the step may have done is undone before.
//
// # Steps elsewhere
//
// A [Remote] step is another service's: the coordinator sends it a command, and
// goes on when the reply has come. While it waits nobody holds the execution. On
// the other side is a participant. In Go that is a [Participant]:
//
//	p, err := saga.NewParticipant(saga.ParticipantConfig{
//		Records: st, Publisher: pub,
//		Steps: []saga.Served{saga.Serve("Charge", charge).Undo(refund)},
//	})
//	...
//	pipe.Handle("payments", pipeline.Consume(p.Handle), pipeline.From("payments"))
//
// [Coordinator.HandleMessage] takes the replies. In any other language a
// participant is whatever keeps to the following. [Schemas] has the JSON Schemas
// of these messages, and of those below; examples/python has one in Python.
//
// A command is a JSON object:
//
//	{"waybill": 1, "command": "do", "key": "ride-1/1//Charge/1/do",
//	 "execution": "ride-1", "definition": "fare", "step": "Charge", "visit": 1,
//	 "attempt": 1, "input": {...}, "notAfter": 1700000000000,
//	 "replyTo": "fares-replies", "commit": "..."}
//
// The command is do, or undo. An undo has the key of the action as undoes, and
// the outcome of that: done, or unknown. frame is there in branches; notAfter is
// in milliseconds since 1970. An execution that holds locks has them in locks, an
// object of their fences, such as {"account/4711": 1700000000000000}: see
// Isolation. The reply goes to the endpoint replyTo, and repeats
// what tells the command:
//
//	{"waybill": 1, "reply": "do", "key": "...", "execution": "ride-1",
//	 "step": "Charge", "visit": 1, "attempt": 1, "commit": "...",
//	 "outcome": "done", "result": {...}}
//
// The outcome is done, not done or unknown. What is not done has an error, which
// is its name, and a cause; it is permanent where no retry would help.
//
// A reply that comes when its step has been given up counts until the step's undo
// begins: what is done is undone as done, and what no attempt has done is not. An
// undo by the participant closes the action. An undo by this process, [Step.Undo],
// cannot: so it begins one [CoordinatorConfig].Lease after notAfter, and an action
// that is done later still is not undone. The history has it as [TaskDoneLate] if
// its reply comes before the saga's end, and a warning says so in any case: somebody
// has to see what there is. Where that may not be, use [Step.UndoRemote].
//
// Commands and replies come at least once and in any order, so a participant
// keeps a record of each key, for longer than a message may take:
//
//   - What is done is done under the key, and every attempt is answered with it.
//     What is not done, or unknown, is so for its attempt: a repeat of that is
//     answered alike, and a higher attempt does the work anew.
//   - Where the same attempt was begun before, by a process that died with it, what
//     is not done is unknown: the other may have done it.
//   - One process at a time is at a key. An attempt below the highest that was
//     seen is refused: its reply is unknown.
//   - The undo comes first to the key of its action. If that is done, it undoes
//     it. If it is at work, the undo waits. Else it marks the key, so that the
//     action is refused when it comes: the reply is unknown, and permanent.
//   - A command that has not been begun by notAfter is not begun. Its reply is
//     not done, and unknown if somebody may have begun it before. notAfter is on
//     the coordinator's clock. A participant whose clock is late begins commands
//     that the coordinator has given up. That costs an undo by command, or one
//     here if the clock is late by less than a lease; by more, the action may come
//     after an undo that is here. One whose clock is early replies that commands
//     came late.
//   - The reply is sent when the record is written, and the command acknowledged
//     when the reply is sent. A process that dies between finds the record when
//     the command comes again.
//   - Who retries is the saga, by the policy of its step: an attempt that fails is
//     replied to. What comes again as the same attempt is what nobody replied to.
//
// Keys tell executions apart, and executions have the ids that they were started
// under. Services that share a participant, and name their sagas alike, must not
// use the same ids.
//
// # Waiting for somebody
//
// A [Callback] hands a task token to a person or a service, and waits until it
// comes back with a result or an error, by [Client.Complete], [Client.Fail] or a
// message, for a year if need be. A [Receive] waits for a signal, which
// [Client.Signal] sends to an execution; one that comes before the start waits for
// it, by default for an hour.
//
// # Isolation
//
// Others see what a saga has done before it is certain. Where that does harm, a
// step, or the saga as a whole, takes a semantic lock: on a name, and a key that
// is told from the state.
//
//	account := saga.Lock("account", func(f *Fare) string { return f.Customer }).Wait(5 * time.Minute)
//	...
//	saga.Do("UpdateCustomerAccount", credit).Undo(debit).Lock(account)
//
// A lock keeps out those who ask for it, and nobody else. Who asks first has it
// first; who has waited for too long gives the place up and fails with
// [ErrorLock], which Retry and Catch can name. A step that takes several locks
// asks for one after the other, in an order that is the same for all. Executions
// that wait for each other because their steps take locks in different orders are
// parted by their deadlines.
//
// An execution keeps its locks until it has ended, in whatever way: while it is
// undone, suspended, or [Blocked]. It shares them with its children and with its
// parent. A lock has no lease: it is not lost to a pause, and a crash leaves it
// with its execution, which goes on elsewhere. What no lock can prevent is that a
// call to what it protects comes very late, when the execution has ended. So each
// grant has a fence, a number that is higher than those of all grants of the lock
// before, and [StepInfo].Locks has them: what is locked can keep the highest that
// it has seen, and refuse those below.
//
// [Client.Lock], [Client.Locks] and [Execution].Locks tell who holds a lock and
// who waits for it, and [Client.BreakLock] takes one away; so does waybill
// lock. A lock costs four calls to the store, five if it is the first step's; a
// further one two, if the same step takes it, or else three.
//
// # A database of one's own
//
// Between the call of a handler and its answer anything may be lost, so an action
// comes twice, its undo comes although it never did, or it comes after its undo.
// Where the effect is in a SQL database that the handler owns, a [Barrier] sorts
// that out, by a row that is written in the effect's own transaction:
//
//	func credit(ctx context.Context, f *Fare) error {
//		return barrier.Do(ctx, func(tx *sql.Tx) error {
//			return tx.QueryRowContext(ctx, `UPDATE account SET cents = cents + $1 WHERE id = $2 RETURNING cents`,
//				f.Cents, f.Customer).Scan(&f.Balance)
//		}, saga.Keep(&f.Balance))
//	}
//
// The action and its undo both go through it. redisstore.Barrier is the same for
// effects in a Redis. What is elsewhere has to tell repeats by the key.
//
// # Blocked executions
//
// A compensation that keeps failing blocks its execution, and so does a step after
// the point of no return: those before it wait, and nothing is forgotten. An
// operator lets it try again ([Client.Retry]), gives it another input
// ([Client.RetryWith]), or takes it for done ([Client.Skip]); each is in the
// history. An order that is for one of several says which one it means. With another input there is another idempotency key, so that nobody
// takes it for a repeat: that of a compensation ends in /undo/2 and so on, and a
// step is visited once more. If an attempt under the old key may have had its
// effect, whoever edits confirms to have seen to it.
//
// # A store that has lost writes
//
// A Redis may lose what it acknowledged: see package redisstore. Executions then go
// on from an earlier commit, and do again, under the same keys, what they do not know
// of. A reply may prove it: to a command of a commit that the execution does not have,
// or to an execution that is missing and was not purged. The first puts the execution
// into quarantine ([Quarantined]): it is not run until an operator has seen to what
// its steps have done, and lets it go on ([Client.Release]) or ends it. The second is
// a [LostError]. Each is logged as an error. Whoever can send replies can put
// executions into quarantine, or worse; so keep others off that queue. What local
// steps have lost nobody can tell.
//
// # Versions
//
// A definition has a version: see [Saga.Version]. Executions stay on the one that
// they began with, so a coordinator of a new release has the old definition among
// its sagas too, until no execution of it is open; the last one given is what is
// started. Executions whose version no coordinator has are left alone, and a
// warning says so.
//
// Services register their graphs in the store. A coordinator that comes with
// another graph under a version that is registered does not start: see
// [VersionError]. Two releases of one version may tune times, policies of retry and
// limits side by side.
//
// [Client.CheckUpgrade] and waybill saga check-upgrade tell which open executions
// would not fit another graph, which is json.Marshal of a [Saga.Definition]. Where
// all fit, check-upgrade --register lets a service keep its version.
//
// # Time
//
// Waits of up to a second are held in place; longer ones are wake-ups in the
// store, and end up to [CoordinatorConfig.Sweep] late. A crashed coordinator's
// executions go on when its leases expire.
//
// # Messages
//
// [Coordinator.HandleStart] starts executions by messages from any language:
//
//	{"waybill": 1, "start": "fare", "id": "ride-4711",
//	 "input": {"Customer": "c-1", "Cents": 2000}, "replyTo": "fares-done"}
//
// waybill is the version of the format, start the saga's name, id the
// execution's, and input the JSON of its state. With replyTo, or [NotifyTo], the
// end of the execution is published to that endpoint:
//
//	{"waybill": 1, "execution": "ride-4711", "definition": "fare",
//	 "status": "compensated", "state": {...},
//	 "cause": {"kind": "failed", "step": "ProcessPayment", "error": "card declined"}}
//
// The message's id is the execution's with ".end"; it may come more than once.
//
// [Coordinator.HandleMessage] takes starts, and what others have to say to an
// execution:
//
//	{"waybill": 1, "complete": TOKEN, "result": {...}}
//	{"waybill": 1, "fail": TOKEN, "error": "Refused", "cause": "too much"}
//	{"waybill": 1, "heartbeat": TOKEN}
//	{"waybill": 1, "signal": "go", "execution": "ride-4711", "id": "s-1", "payload": {...}}
//
// What goes into a state has at most [CoordinatorConfig].MaxState bytes, and is nested
// at most 1,000 levels deep.
//
// # FIFO endpoints
//
// Nothing of this needs an order, so standard queues do. Where the endpoints are
// FIFO, package queue gives commands, replies, notices and rings the group of their
// execution, or in a branch of their branch: the commands of a step and its undo keep
// their order, and branches do not wait for each other. [Step.MessageGroup] chooses
// another, such as the account that is charged. The deduplication id is made of the
// message's id and what is in it. So a command that goes out again because nobody
// knows whether it did is dropped if it did; the next attempt, and an attempt that is
// dispatched anew after a failover of the store, are not.
//
// Whoever sends the other messages chooses for them. Good groups are the execution's
// id for starts, completions and signals, and for a participant's replies the id with
// "/" and the frame, if the command has one; a digest of that, where it has more than
// 128 characters, or others than the printable ones of ASCII. A good deduplication id
// is a digest of what is in the message, such as a queue with
// ContentBasedDeduplication makes itself; a heartbeat's is another each time. Do not
// choose the id of a signal, which is its execution's alone, nor the key of a command
// for its reply: every attempt of a step has the same, and within five minutes only
// the first would be heard.
//
// What keeps failing holds its group, and no other, until the queue's redrive policy
// takes it. Package queue sees to that; any other participant that receives several
// messages at once gives back those behind one that has failed.
package saga
