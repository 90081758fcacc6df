// Package sagabench runs sagas against a Redis and counts what they cost, for
// `waybill bench saga` and the benchmarks of package saga.
//
// What a machine and its Redis can do at all is the floor: the scripts of a
// saga, recorded from one that ran, and sent again under other ids by the same
// client, as many at once, with no engine around them. Rounds of sagas and of
// bare scripts take turns, so that whatever else the machine does slows both,
// and their ratio says more than either.
package sagabench
