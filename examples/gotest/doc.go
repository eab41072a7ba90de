// Package gotest shows faults in a Go program's own tests: how its HTTP client
// takes it when a load balancer forgets connections, and what it does not.
package gotest
