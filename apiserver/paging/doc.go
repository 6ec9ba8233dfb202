// Package paging is the continue tokens of chunked lists, the same over HTTPS
// and in process.
package paging
