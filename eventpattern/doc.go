// Package eventpattern matches events against event patterns of EventBridge, and messages against filter
// policies of SNS.
package eventpattern
