// Package authn finds out who asks: by client certificate, by service account
// token, by join token. It reads accounts, pods and token Secrets on the View
// it is given, so that what has been deleted stops working with the deletion.
//
// A request without any credential is anonymous; whoever serves decides what
// anonymous may see. A request with a bad credential is an error, never
// anonymous.
package authn
