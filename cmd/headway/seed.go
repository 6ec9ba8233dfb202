package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-git/go-billy/v5/memfs"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-billy/v5/util"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// seedRepository makes a bare repository with one commit of the files, unless
// there is one. It appears whole or not at all.
func seedRepository(path string, files fs.FS, now time.Time) (made bool, err error) {
	if _, err := os.Stat(filepath.Join(path, "HEAD")); err == nil {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	temporary, err := os.MkdirTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(temporary)
	if err := firstCommit(temporary, files, now); err != nil {
		return false, fmt.Errorf("make repository %s: %w", path, err)
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return false, err
	}
	return true, os.Rename(temporary, path)
}

func firstCommit(path string, files fs.FS, now time.Time) error {
	tree := memfs.New()
	repository, err := git.InitWithOptions(filesystem.NewStorage(osfs.New(path), cache.NewObjectLRUDefault()), tree, git.InitOptions{DefaultBranch: plumbing.Main})
	if err != nil {
		return err
	}
	work, err := repository.Worktree()
	if err != nil {
		return err
	}
	err = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := util.WriteFile(tree, name, content, 0o644); err != nil {
			return err
		}
		_, err = work.Add(name)
		return err
	})
	if err != nil {
		return err
	}
	who := &object.Signature{Name: "Headway", Email: "headway@localhost", When: now}
	if _, err := work.Commit("Start with an example\n", &git.CommitOptions{Author: who, Committer: who}); err != nil {
		return err
	}
	// The index is of a working tree that is not there.
	if err := os.Remove(filepath.Join(path, "index")); err != nil {
		return err
	}
	config, err := repository.Config()
	if err != nil {
		return err
	}
	config.Core.IsBare = true
	return repository.SetConfig(config)
}
