// Package forge tells a forge how the cluster fares: statuses of commits, and
// one comment on each pull request. It speaks the REST APIs of GitHub, GitLab
// (v4) and Gitea or Forgejo (v1), one call at a time.
//
// A token is sent to the forge's own host and never to one that it redirects
// to; answers are bounded in bytes and in time; no error carries a token.
package forge
