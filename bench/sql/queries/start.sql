SELECT x FROM start_of_a_job
