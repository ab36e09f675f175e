// scatter.go: arrays that begin at another place within a page in each process. Go's heap has few places for blocks of
// one size, and fresh processes use the same ones: a layout that slows or speeds up a step would do so in every launch.
package main

import (
	"math/rand"
	"time"
	"unsafe"
)

const (
	page      = 4096 // bytes
	cacheLine = 64   // bytes; an array keeps the place within a line that Go gives it
)

var places = rand.New(rand.NewSource(time.Now().UnixNano()))

// Make n zeros, which begin a random number of cache lines into a block of their own.
func scattered[Number any](n int) []Number {
	var one Number
	before := places.Intn(page/cacheLine) * cacheLine / int(unsafe.Sizeof(one))
	return make([]Number, before+n)[before:]
}
